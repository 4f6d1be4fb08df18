"""A network address translator by RFC 4787 (and RFC 5382 for streams)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from natkit.address import Address, Family
from tests.simnet.behaviour import Hairpinning, NatBehaviour, Pooling, PortAssignment
from tests.simnet.link import Link
from tests.simnet.packet import Packet, Protocol
from tests.simnet.realm import AddressRealm, Router
from tests.simnet.simulation import Simulation


@dataclass(slots=True, eq=False)
class Mapping:
    """An internal endpoint's place outside, and the remotes that may send to it.

    ``permitted`` holds the remotes that were sent to through this very mapping, by the key of the
    filter, with the end of each.  (By the letter of RFC 4787 §5 what the internal endpoint sent
    through another of its mappings counts too; connection tracking does not do that.)
    """

    protocol: Protocol
    inside: Address
    outside: Address
    remote_key: Address
    expires: float
    permitted: dict[Address, float] = field(default_factory=dict)


class Nat(Router):
    """Translates the address families of which it has an external address; routes the others."""

    def __init__(
        self,
        simulation: Simulation,
        name: str,
        addresses: Sequence[str],
        outside: AddressRealm,
        link: Link,
        behaviour: NatBehaviour,
    ) -> None:
        super().__init__(simulation, name, outside, link)
        self.behaviour = behaviour
        self.addresses = tuple(Address.of(host, 0).host for host in addresses)
        self._pools: dict[Family, list[str]] = {family: [] for family in Family}
        for host in self.addresses:
            self._pools[Address(host, 0).family].append(host)
        self._random = simulation.random(f"nat {name}")
        self._by_inside: dict[tuple[Protocol, Address, Address], Mapping] = {}
        self._by_outside: dict[tuple[Protocol, Address], Mapping] = {}
        self._pairs: dict[str, str] = {}
        self._next_port = behaviour.first_port

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """The mappings that are alive."""
        now = self.simulation.now
        return tuple(mapping for mapping in self._by_outside.values() if mapping.expires > now)

    def reboot(self) -> None:
        """Forget every mapping."""
        self._by_inside.clear()
        self._by_outside.clear()
        self._pairs.clear()
        self.note("rebooted", "")

    def owns(self, host: str) -> bool:
        """Its external addresses, and what lies behind it in a family that it only routes."""
        if self._pools[Address(host, 0).family]:
            return host in self.addresses
        return self.inside.owns(host)

    def receive_inside(self, packet: Packet) -> None:
        """A packet leaves the inner realm, or asks to come back into it."""
        if packet.destination.host in self.addresses:
            hairpinned = self._hairpin(packet)
            if hairpinned is not None:
                self.inside.forward(hairpinned, self)
            return
        super().receive_inside(packet)

    def outbound(self, packet: Packet) -> Packet | None:
        """Translate the source, by a mapping that is made when there is none."""
        if not self._pools[packet.source.family]:
            return packet
        mapping = self._mapping_to(packet)
        if mapping is None:
            self.note("no port left", packet)
            return None
        if isinstance(packet.payload, bytes):
            rewritten = self.behaviour.gateway.leaving(
                packet.payload, mapping.inside, mapping.outside
            )
            packet = packet.with_data(rewritten)
        return packet.with_source(mapping.outside)

    def inbound(self, packet: Packet) -> Packet | None:
        """Translate the destination, if a mapping is there and its filter lets the source pass."""
        if not self._pools[packet.destination.family]:
            return packet
        mapping = self._alive(self._by_outside.get((packet.protocol, packet.destination)))
        if mapping is None:
            self.note("no mapping", packet)
            return None
        key = self.behaviour.filtering.key(packet.source)
        if mapping.permitted.get(key, 0.0) <= self.simulation.now:
            self.note("filtered", packet)
            return None
        if self.behaviour.refresh_inbound:
            self._refresh(mapping, key)
        if isinstance(packet.payload, bytes):
            rewritten = self.behaviour.gateway.entering(
                packet.payload, mapping.inside, mapping.outside
            )
            packet = packet.with_data(rewritten)
        return packet.with_destination(mapping.inside)

    def _hairpin(self, packet: Packet) -> Packet | None:
        if self.behaviour.hairpinning is Hairpinning.OFF:
            self.note("no hairpinning", packet)
            return None
        # The filter judges the external source in either case: it is what the receiver sent to.
        left = self.outbound(packet)
        entered = None if left is None else self.inbound(left)
        if entered is not None and self.behaviour.hairpinning is Hairpinning.INTERNAL_SOURCE:
            return entered.with_source(packet.source)
        return entered

    def _mapping_to(self, packet: Packet) -> Mapping | None:
        """The mapping by which a packet leaves, renewed by it."""
        remote_key = self.behaviour.mapping.key(packet.destination)
        place = (packet.protocol, packet.source, remote_key)
        mapping = self._alive(self._by_inside.get(place))
        if mapping is None:
            outside = self._assign(packet.protocol, packet.source)
            if outside is None:
                return None
            mapping = Mapping(packet.protocol, packet.source, outside, remote_key, 0.0)
            self._by_inside[place] = mapping
            self._by_outside[packet.protocol, outside] = mapping
            self.note("mapped", f"{packet.protocol.value} {packet.source} as {outside}")
        self._refresh(mapping, self.behaviour.filtering.key(packet.destination))
        return mapping

    def _refresh(self, mapping: Mapping, filter_key: Address) -> None:
        udp = mapping.protocol is Protocol.UDP
        lifetime = self.behaviour.lifetime if udp else self.behaviour.tcp_lifetime
        mapping.expires = mapping.permitted[filter_key] = self.simulation.now + lifetime

    def _alive(self, mapping: Mapping | None) -> Mapping | None:
        if mapping is None or mapping.expires > self.simulation.now:
            return mapping
        del self._by_inside[mapping.protocol, mapping.inside, mapping.remote_key]
        del self._by_outside[mapping.protocol, mapping.outside]
        self.note("mapping expired", f"{mapping.inside} as {mapping.outside}")
        return None

    # ── the place outside ───────────────────────────────────────────────────────────────────────

    def _assign(self, protocol: Protocol, inside: Address) -> Address | None:
        host = self._external_host(inside)
        for port in self._candidates(protocol, inside, host):
            if self.behaviour.parity and port % 2 != inside.port % 2:
                continue
            outside = Address(host, port)
            if self._alive(self._by_outside.get((protocol, outside))) is None:
                self._next_port = port + 1
                return outside
        return None

    def _external_host(self, inside: Address) -> str:
        pool = self._pools[inside.family]
        if self.behaviour.pooling is Pooling.ARBITRARY:
            return self._random.choice(pool)
        if inside.host not in self._pairs:
            self._pairs[inside.host] = pool[len(self._pairs) % len(pool)]
        return self._pairs[inside.host]

    def _candidates(self, protocol: Protocol, inside: Address, host: str) -> Iterator[int]:
        """Ports in the order to try them; every port of the range comes."""
        behaviour = self.behaviour
        first, last = behaviour.first_port, behaviour.last_port
        if behaviour.contiguity:
            for mapping in self.mappings:
                neighbour = Address(inside.host, inside.port - 1)
                at = mapping.outside
                ours = (mapping.protocol, mapping.inside, at.host) == (protocol, neighbour, host)
                if ours and at.port < last:
                    yield at.port + 1
        if behaviour.ports is PortAssignment.PRESERVED and first <= inside.port <= last:
            yield inside.port
        if behaviour.ports is PortAssignment.SEQUENTIAL:
            start = self._next_port if self._next_port <= last else first
        else:
            start = self._random.randint(first, last)
        yield from chain(range(start, last + 1), range(first, start))
