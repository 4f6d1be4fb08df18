"""A SIP proxy on a router between two hosts, each with a telephone."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority
from tests.netlab.namespaces import Host, Lab, run
from tests.peering.process import PeerProcess

DOMAIN = "example.org"
# RFC 5737: addresses that are nobody's.
ALICE, PROXY = "198.51.100.2", "198.51.100.1"
BOB, PROXY_FOR_BOB = "203.0.113.2", "203.0.113.1"
PORT, SECURE_PORT, WEB_PORT = 5060, 5061, 8088
CONFIGURATION = f"""
domains = ["{DOMAIN}"]

[listeners]
listen = ["0.0.0.0:{PORT}", "tls:0.0.0.0:{SECURE_PORT}", "ws:0.0.0.0:{WEB_PORT}"]
certificate = "{{certificate}}"
key = "{{key}}"

[tls]
client_trust = "{{trust}}"
user_certificates = true

[users]
passwords = {{{{ alice = "secret", bob = "secret" }}}}
algorithms = [{{algorithms}}]
authenticate = {{authenticate}}
"""
_COMMAND = "import sys; from sip_proxy.cli import run; sys.exit(run())"


@dataclass(frozen=True, slots=True)
class Home:
    """Two hosts, and the proxy between them; ``authority`` vouches for it and for its users."""

    alice: Host
    bob: Host
    proxy: Host
    authority: Authority
    process: PeerProcess


@contextmanager
def home(
    lab: Lab,
    directory: Path,
    algorithms: str = '"SHA-512-256", "SHA-256", "MD5"',
    *,
    authenticate: bool = True,
) -> Iterator[Home]:
    """Make the hosts and run sip-proxy, with alice and bob for users, by all its transports."""
    alice, bob, proxy = lab.host("alice"), lab.host("bob"), lab.host("proxy")
    lab.cable((alice, "eth0", f"{ALICE}/24"), (proxy, "eth0", f"{PROXY}/24"))
    lab.cable((bob, "eth0", f"{BOB}/24"), (proxy, "eth1", f"{PROXY_FOR_BOB}/24"))
    alice.configure("route", "add", "default", "via", PROXY)
    bob.configure("route", "add", "default", "via", PROXY_FOR_BOB)
    run(proxy, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    authority = Authority(directory)
    issued = authority.issue(DOMAIN, PROXY, PROXY_FOR_BOB)
    file = directory / "sip-proxy.toml"
    file.write_text(
        CONFIGURATION.format(
            certificate=issued.chain,
            key=issued.key,
            trust=authority.file,
            algorithms=algorithms,
            authenticate=str(authenticate).lower(),
        )
    )
    command = [*proxy.prefix, sys.executable, "-c", _COMMAND, f"--config={file}"]
    command.append(f"--data-dir={directory / 'state'}")
    process = PeerProcess("sip-proxy", command, directory)
    try:
        process.wait_until(lambda: "serving" in process.log())
        yield Home(alice, bob, proxy, authority, process)
    finally:
        # It would wait for the calls that go on.
        process.stop(signal.SIGKILL)
