"""unbound on loopback: a resolver that validates, over UDP, TCP and TLS."""

from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from natkit.address import Address
from tests.certificates import Issued
from tests.peering.ports import free_port
from tests.peering.process import PeerFailed, PeerProcess
from tests.peering.roster import program_path

HOST = "127.0.0.1"
PROBE_TIMEOUT = 0.5
CONFIGURATION = """\
server:
  directory: "{directory}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-daemonize: no
  num-threads: 1
  interface: {host}@{port}
  interface: {host}@{tls_port}
  tls-port: {tls_port}
  tls-service-pem: "{certificate}"
  tls-service-key: "{key}"
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-not-query-localhost: no
  outgoing-interface: 127.0.0.1
  module-config: "validator iterator"
  trust-anchor: "{anchor}"
  trust-anchor-signaling: no
  root-key-sentinel: no
  ede: yes
  val-log-level: 2
  local-zone: "test." nodefault
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: {upstream.host}@{upstream.port}
"""


@dataclass(frozen=True, slots=True)
class Unbound:
    """A running unbound; ``tls`` is where it speaks DNS over TLS."""

    address: Address
    tls: Address
    process: PeerProcess


def start(directory: Path, upstream: Address, anchor: str, certificate: Issued) -> Unbound:
    """Start unbound in front of ``upstream``, with one trust anchor, and wait for an answer."""
    program = program_path("unbound")
    if program is None:
        raise PeerFailed("unbound is not installed")
    address, tls = Address(HOST, free_port(HOST)), Address(HOST, free_port(HOST))
    configuration = directory / "unbound.conf"
    configuration.write_text(
        CONFIGURATION.format(
            directory=directory,
            host=HOST,
            port=address.port,
            tls_port=tls.port,
            certificate=certificate.chain,
            key=certificate.key,
            anchor=anchor,
            upstream=upstream,
        )
    )
    process = PeerProcess("unbound", [program, "-d", "-c", configuration], directory)

    def answers() -> bool:
        query = dns.message.make_query("localhost", "A")
        try:
            return bool(dns.query.tcp(query, HOST, PROBE_TIMEOUT, address.port).answer)
        except (OSError, EOFError, dns.exception.DNSException):
            return False

    try:
        process.wait_until(answers)
    except BaseException:
        process.stop()
        raise
    return Unbound(address, tls, process)
