"""The servers that take turns on the host between."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks.relay.cables.hosts import LISTENER, RELAY, Hosts
from benchmarks.relay.servers import PASSWORD, REALM, SERVER_PROCESSOR, USERNAME, first_line
from benchmarks.relay.turn_client import BenchmarkError
from natkit.address import Address

__all__ = [
    "COTURN",
    "GENERIC",
    "KERNEL",
    "NATIVE",
    "OTHERS",
    "SERVERS",
    "UNFINISHED",
    "UNFINISHED_COTURN",
    "USERSPACE",
    "Server",
    "serving",
    "versions",
]

KERNEL = "kernel"
USERSPACE = "user space"
COTURN = "coturn"
SERVERS = (KERNEL, USERSPACE, COTURN)
"""As they run by themselves; measured under every load."""

GENERIC = "kernel, by XDP generic"
NATIVE = "kernel, by XDP native"
UNFINISHED = "kernel, sums unfinished"
UNFINISHED_COTURN = "coturn, sums unfinished"
OTHERS = (GENERIC, NATIVE, UNFINISHED, UNFINISHED_COTURN)
"""Other ways to run, and other cables, for comparison."""

_PORT = 3478
_PATIENCE = 30.0
# Virtual interfaces get the program of tc otherwise.
_IN_MODE = "from natkit.relay import attaching as a; a.OF_VIRTUAL = (a.Mode.{},); "
_MODES = {GENERIC: "GENERIC", NATIVE: "NATIVE"}
_RUN = "from stun_server.cli import run; run()"
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


@dataclass(frozen=True, slots=True)
class Server:
    """One that runs."""

    name: str
    address: Address
    pid: int


@contextlib.contextmanager
def serving(name: str, hosts: Hosts, directory: Path) -> Iterator[Server]:
    """Have it run, and what it needs at the far ends."""
    far_ends = hosts.with_drivers() if name == NATIVE else contextlib.nullcontext()
    with far_ends, _running(name, hosts, directory) as server:
        yield server


@contextlib.contextmanager
def _running(name: str, hosts: Hosts, directory: Path) -> Iterator[Server]:
    between = hosts.between
    assert between is not None
    directory.mkdir(exist_ok=True)
    is_coturn = name in (COTURN, UNFINISHED_COTURN)
    command = _coturn(directory) if is_coturn else _natkit(name, directory)
    pinned = ["taskset", "--cpu-list", str(SERVER_PROCESSOR), *command]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*between.prefix, *pinned],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=_ENVIRONMENT,
        )
    server = Server(name, Address(LISTENER, _PORT), process.pid)
    try:
        _wait(server, hosts, process, log)
        yield server
    finally:
        # SIGTERM would have ours wait for allocations that a client left behind.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Server, hosts: Hosts, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + _PATIENCE
    with hosts.client_socket() as probe:
        probe.settimeout(0.1)
        while monotonic() < deadline and process.poll() is None:
            try:
                probe.sendto(bytes.fromhex("000100002112a442") + os.urandom(12), server.address)
                probe.recv(2048)
            except OSError:
                sleep(0.02)
            else:
                return
    raise BenchmarkError(f"{server.name} does not answer; it said:\n{log.read_text()}")


def _natkit(name: str, directory: Path) -> Sequence[str]:
    plane = "userspace" if name == USERSPACE else "kernel"
    configuration = directory / "stun-server.toml"
    configuration.write_text(
        f"""
        [listeners]
        listen = ["{LISTENER}:{_PORT}"]
        relay_ipv4 = "{RELAY}"
        relay_plane = "{plane}"
        [users]
        realm = "{REALM}"
        passwords = {{ {USERNAME} = "{PASSWORD}" }}
        [policy]
        allow_peer = ["10.0.0.0/8"]
        [limits]
        allocations = 10000
        allocations_per_user = 10000
        packets_per_source = 10000000
        [log]
        level = "warning"
        """
    )
    program = (_IN_MODE.format(_MODES[name]) if name in _MODES else "") + _RUN
    return (
        *(sys.executable, "-c", program),
        *(f"--config={configuration}", f"--data-dir={directory}"),
    )


def _coturn(directory: Path) -> Sequence[str]:
    return (
        *(_turnserver(), "-n", f"--listening-ip={LISTENER}", f"--relay-ip={RELAY}"),
        *(f"--listening-port={_PORT}", "--relay-threads=1", "--lt-cred-mech"),
        *(f"--user={USERNAME}:{PASSWORD}", f"--realm={REALM}", "--no-cli", "--log-file=stdout"),
        *(f"--pidfile={directory / 'turnserver.pid'}", f"--userdb={directory / 'turndb'}"),
        *("--allow-loopback-peers", "--no-tls", "--no-dtls"),
    )


def _turnserver() -> str:
    program = shutil.which("turnserver")
    if program is None:
        raise BenchmarkError("turnserver is not installed: apt-get install coturn")
    return program


def versions() -> dict[str, str]:
    """What is measured."""
    return {
        "natkit": first_line([sys.executable, "-c", _RUN, "--version"]),
        "coturn": first_line([_turnserver(), "--version"]),
    }
