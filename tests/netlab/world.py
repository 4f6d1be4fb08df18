"""The network of most tests here: a client and a server, on one cable."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.netlab.namespaces import Host, Lab
from tests.stun_server.process import StunServerProcess, stun_server

# RFC 5737, RFC 3849: addresses that are nobody's.
CLIENT = "198.51.100.2"
SERVER = "198.51.100.1"
CLIENT_IPV6 = "2001:db8::2"
SERVER_IPV6 = "2001:db8::1"


@dataclass(frozen=True, slots=True)
class ClientAndServer:
    """Two hosts that reach each other by IPv4 and IPv6."""

    client: Host
    server: Host

    @contextmanager
    def serve(self, directory: Path, *arguments: str) -> Iterator[StunServerProcess]:
        """Run stun-server on the server; it needs a ``--listen``."""
        with stun_server(directory, *arguments, prefix=self.server.prefix) as running:
            yield running


def client_and_server(lab: Lab) -> ClientAndServer:
    """Make the two hosts."""
    client, server = lab.host("client"), lab.host("server")
    lab.cable(
        (client, "eth0", f"{CLIENT}/24 {CLIENT_IPV6}/64"),
        (server, "eth0", f"{SERVER}/24 {SERVER_IPV6}/64"),
    )
    return ClientAndServer(client, server)
