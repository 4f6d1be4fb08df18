"""Address realms (RFC 2663 §2.1), and the routers between an inner realm and an outer one."""

from typing import Protocol as Interface

from tests.simnet.link import Direction, Link
from tests.simnet.packet import Packet
from tests.simnet.simulation import Simulation, SimulationError


class Node(Interface):
    """What has a place in a realm."""

    name: str

    def owns(self, host: str) -> bool:
        """Whether packets to this IP address are for the node, or for what lies behind it."""
        ...

    def receive(self, packet: Packet) -> None:
        """A packet came from the realm."""
        ...


class AddressRealm:
    """Nodes that reach each other by their addresses; the rest goes to the gateway."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.name = name
        self.gateway: Router | None = None
        self._simulation = simulation
        self._members: list[tuple[Node, Link]] = []
        self._routes: dict[str, tuple[Node, Link] | None] = {}

    def attach(self, node: Node, link: Link) -> None:
        """Give ``node`` its place, at the end of ``link``."""
        self._members.append((node, link))

    def owns(self, host: str) -> bool:
        """Whether a member has this address."""
        return self._route(host) is not None

    def send(self, packet: Packet, sender: Node, link: Link) -> None:
        """A member sends: the packet crosses its link, then it is on its way."""
        link.carry(packet, Direction.UP, lambda arrived: self.forward(arrived, sender))

    def forward(self, packet: Packet, sender: "Node | Router") -> None:
        """Pass on what ``sender`` brought into the realm."""
        route = self._route(packet.destination.host)
        if route is not None and route[0] is not sender:
            node, link = route
            link.carry(packet, Direction.DOWN, node.receive)
        elif route is None and self.gateway is not None and self.gateway is not sender:
            self.gateway.receive_inside(packet)
        else:
            self._simulation.trace.add(self._simulation.now, self.name, "no route", packet)

    def _route(self, host: str) -> tuple[Node, Link] | None:
        route = self._routes.get(host)
        if route is None:
            owners = [member for member in self._members if member[0].owns(host)]
            if len(owners) > 1:
                raise SimulationError(f"{host} is in {self.name} more than once")
            if not owners:
                return None
            route = self._routes[host] = owners[0]
        return route


class Router:
    """Joins an inner realm to an outer one and passes packets as they are.

    Subclasses say what becomes of a packet by :meth:`outbound` and :meth:`inbound`.
    """

    def __init__(
        self, simulation: Simulation, name: str, outside: AddressRealm, link: Link
    ) -> None:
        self.name = name
        self.simulation = simulation
        self.link = link
        self.outside = outside
        self.inside = AddressRealm(simulation, f"behind {name}")
        self.inside.gateway = self
        outside.attach(self, link)

    def owns(self, host: str) -> bool:
        """Whether packets from outside to this IP address come here."""
        return self.inside.owns(host)

    def receive_inside(self, packet: Packet) -> None:
        """A packet leaves the inner realm."""
        passed = self.outbound(packet)
        if passed is not None:
            self.outside.send(passed, self, self.link)

    def receive(self, packet: Packet) -> None:
        """A packet comes from the outer realm."""
        passed = self.inbound(packet)
        if passed is not None:
            self.inside.forward(passed, self)

    def outbound(self, packet: Packet) -> Packet | None:
        """The packet as it leaves, or None when it is dropped."""
        return packet

    def inbound(self, packet: Packet) -> Packet | None:
        """The packet as it enters, or None when it is dropped."""
        return packet

    def note(self, what: str, subject: object) -> None:
        """Add to the trace."""
        self.simulation.trace.add(self.simulation.now, self.name, what, subject)
