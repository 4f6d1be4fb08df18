"""A stateful firewall: translates nothing, lets in what answers something that went out."""

from natkit.address import Address
from tests.simnet.behaviour import Dependence
from tests.simnet.link import Link
from tests.simnet.packet import Packet, Protocol
from tests.simnet.realm import AddressRealm, Router
from tests.simnet.simulation import Simulation


class Firewall(Router):
    """Filters by RFC 4787 §5's terms.

    Protocols in ``blocked`` pass in no direction.  Packets from outside to an endpoint in ``open``
    pass always.  A permission lives ``lifetime`` seconds after the last packet either way.
    """

    def __init__(
        self,
        simulation: Simulation,
        name: str,
        outside: AddressRealm,
        link: Link,
        *,
        filtering: Dependence = Dependence.ADDRESS_AND_PORT_DEPENDENT,
        lifetime: float = 300.0,
        blocked: frozenset[Protocol] = frozenset(),
        open: frozenset[Address] = frozenset(),  # noqa: A002 - the word for it
    ) -> None:
        super().__init__(simulation, name, outside, link)
        self.filtering = filtering
        self.lifetime = lifetime
        self.blocked = blocked
        self.open = open
        self._permitted: dict[tuple[Protocol, Address, Address], float] = {}

    def outbound(self, packet: Packet) -> Packet | None:
        """Let it pass, and let in what answers it."""
        if packet.protocol in self.blocked:
            self.note("blocked", packet)
            return None
        self._permit(packet.protocol, packet.source, packet.destination)
        return packet

    def inbound(self, packet: Packet) -> Packet | None:
        """Let it pass if something went out that it may answer."""
        if packet.protocol in self.blocked:
            self.note("blocked", packet)
            return None
        if packet.destination in self.open:
            return packet
        place = (packet.protocol, packet.destination, self.filtering.key(packet.source))
        if self._permitted.get(place, 0.0) <= self.simulation.now:
            self.note("filtered", packet)
            return None
        self._permit(packet.protocol, packet.destination, packet.source)
        return packet

    def _permit(self, protocol: Protocol, inside: Address, remote: Address) -> None:
        place = (protocol, inside, self.filtering.key(remote))
        self._permitted[place] = self.simulation.now + self.lifetime
