"""coturn's turnserver on loopback."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from natkit.address import Address
from tests.peering.binding_probe import answers_binding
from tests.peering.ports import free_block, free_port
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

RELAY_PORTS = 200
"""How many relay ports it gets; the widest test opens some 50 pairs."""


@dataclass(frozen=True, slots=True)
class Coturn:
    """A running turnserver; ``address`` listens for UDP and TCP, ``secure`` for TLS and DTLS."""

    address: Address
    secure: Address | None
    username: str
    password: str
    realm: str
    relay_ports: range
    process: PeerProcess

    def log(self) -> str:
        """What it wrote so far."""
        return self.process.log()


def start(
    directory: Path,
    *extra_arguments: str,
    host: str = "127.0.0.1",
    certificate: tuple[Path, Path] | None = None,
) -> Coturn:
    """Start one with long-term credentials, loopback peers allowed, and wait until it answers.

    ``certificate`` and its key switch TLS and DTLS on.
    """
    program = program_path("turnserver")
    if program is None:
        raise PeerFailed("turnserver is not installed")
    port = free_port(host)
    secure = None if certificate is None else Address(host, free_port(host))
    relay_ports = free_block(host, RELAY_PORTS)
    username, password, realm = "alice", secrets.token_hex(8), "example.org"
    process = PeerProcess(
        "coturn",
        [
            program,
            "-n",
            f"--listening-ip={host}",
            f"--relay-ip={host}",
            f"--listening-port={port}",
            f"--min-port={relay_ports.start}",
            f"--max-port={relay_ports.stop - 1}",
            "--lt-cred-mech",
            f"--user={username}:{password}",
            f"--realm={realm}",
            "--allow-loopback-peers",
            *_security(secure, certificate),
            "--no-cli",
            "--verbose",
            "--log-file=stdout",
            "--simple-log",
            f"--pidfile={directory / 'turnserver.pid'}",
            f"--userdb={directory / 'turndb'}",
            *extra_arguments,
        ],
        directory,
    )
    server = Coturn(Address(host, port), secure, username, password, realm, relay_ports, process)
    try:
        process.wait_until(lambda: answers_binding(server.address))
    except BaseException:
        process.stop()
        raise
    return server


def _security(secure: Address | None, certificate: tuple[Path, Path] | None) -> list[str]:
    if secure is None or certificate is None:
        return ["--no-tls", "--no-dtls"]
    chain, key = certificate
    return [f"--tls-listening-port={secure.port}", f"--cert={chain}", f"--pkey={key}"]
