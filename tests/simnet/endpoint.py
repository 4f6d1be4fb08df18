"""A bare datagram socket on a host: a peer without any protocol."""

from natkit.address import Address, Family
from tests.simnet.host import Host


class Endpoint:
    """Keeps what it received, with the source; an echoing one sends it back as well."""

    def __init__(
        self, host: Host, port: int = 0, family: Family = Family.IPV4, *, echo: bool = False
    ) -> None:
        self.received: list[tuple[bytes, Address]] = []
        self.echo = echo
        self._host = host
        self.address = host.bind(host.address(port, family), self)

    def send(self, data: bytes, remote: Address) -> None:
        """Send a datagram."""
        self._host.send_datagram(data, self.address, remote)

    def close(self) -> None:
        """Close the socket."""
        self._host.unbind(self.address)

    def datagram(self, data: bytes, local: Address, remote: Address) -> None:
        """The network's side."""
        self.received.append((data, remote))
        if self.echo:
            self._host.send_datagram(data, local, remote)
