"""Port-mapped candidates: the default gateway is asked to lead a port to each base.

What the gateway grants is told to the peer as a server-reflexive candidate, the gateway being the
server.  Whether others can reach it, a check must show: the gateway itself may be behind a NAT.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from natkit.address import Address, Family
from natkit.errors import NatkitError, UnreachableError
from natkit.gather.desk import Desk
from natkit.gather.events import GatherResult
from natkit.gather.sockets import Base
from natkit.machine import CloseSocket, Failure, OpenSocket, Path, RandomBytes, Transmit, Transport
from natkit.portmap import (
    GatewayMapper,
    GatewayRestarted,
    Mapped,
    MappingFailed,
    MappingLost,
    Method,
    NatPmp,
    Pcp,
    PortMapEvent,
    PortMapper,
    Protocol,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.registry import SERVER_PORT
from natkit.portmap.select import Mapper
from natkit.portmap.upnp import Exchange, HttpResponse, IgdMapper

__all__ = ["MappedPort", "NotMapped", "PortMappings", "RouteToGateway"]

MOST_MAPPINGS: Final = 64
"""Ports that one gatherer has mapped at one gateway."""


@dataclass(frozen=True, slots=True)
class RouteToGateway:
    """A default gateway, and our address towards it."""

    gateway: str
    local: str


@dataclass(frozen=True, slots=True)
class MappedPort:
    """Packets for ``external`` come to ``base``, by the word of the gateway."""

    base: Base
    method: Method
    gateway: Address
    external: Address


@dataclass(frozen=True, slots=True)
class NotMapped:
    """The gateway maps nothing for ``base``; ``error`` is what each of its protocols said."""

    base: Base
    gateway: Address
    error: NatkitError


class PortMappings:
    """The mappings at one gateway, from the first wish to their removal."""

    def __init__(
        self,
        route: RouteToGateway,
        desk: Desk,
        *,
        random: RandomBytes,
        told: Callable[[MappedPort | NotMapped, float], None],
    ) -> None:
        self._gateway = Address.of(route.gateway, SERVER_PORT)
        self._local = Address.of(route.local, 0).host
        self._desk = desk
        self._random = random
        self._told = told
        self._mapper: PortMapper | None = None
        # NAT-PMP has a socket of its own: its refusals look like those of PCP's version.
        self._sockets: list[Address] = []
        self._opening = 0
        self._failure: UnreachableError | None = None
        self._wanted: dict[int, Base] = {}
        self._settled: set[int] = set()
        self._last = 0
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """Whether each wish was granted or refused."""
        return not self._opening and self._settled.issuperset(self._wanted)

    @property
    def is_empty(self) -> bool:
        """Whether the gateway holds nothing for us."""
        return not self._sockets and not self._opening

    def ask(self, base: Base, now: float) -> None:
        """Have a port lead to ``base``, if it is at the address that the gateway sees."""
        if base.local.host != self._local or len(self._wanted) >= MOST_MAPPINGS:
            return
        if self._failure is not None:
            self._told(NotMapped(base, self._gateway, self._failure), now)
            return
        self._last += 1
        self._wanted[self._last] = base
        if self._mapper is not None:
            self._map(self._last, base, self._mapper, now)
        elif not self._opening:
            local = Address(self._local, 0)
            self._opening = 2 if local.family is Family.IPV4 else 1
            for _ in range(self._opening):
                self._desk.ask(partial(OpenSocket, local=local), self._opened)

    def takes(self, path: Path) -> bool:
        """Whether the socket is the one that the gateway is asked from."""
        return path.transport is Transport.UDP and path.local in self._sockets

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """The gateway's word, or a device's answer to the search."""
        if self._mapper is not None:
            self._mapper.receive(data, path, now)
            self._collect(self._mapper, now)

    def handle_timer(self, now: float) -> None:
        """Ask again, and renew."""
        if self._mapper is not None:
            self._mapper.handle_timer(now)
            self._collect(self._mapper, now)

    def next_deadline(self) -> float | None:
        """When to."""
        return None if self._mapper is None else self._mapper.next_deadline()

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        return [] if self._mapper is None else list(self._mapper.transmits())

    def end(self, error: NatkitError, now: float) -> None:
        """Wait for no grants any more; a late one is given back."""
        for number, base in tuple(self._wanted.items()):
            if number not in self._settled:
                self._give_up(number, now)
                self._told(NotMapped(base, self._gateway, error), now)

    def forget(self, base: Address, now: float) -> None:
        """The socket of ``base`` is gone: its mapping goes too."""
        for number, each in tuple(self._wanted.items()):
            if each.local == base:
                self._give_up(number, now)

    def close(self, now: float) -> None:
        """Remove every mapping."""
        self._is_closed = True
        for number in tuple(self._wanted):
            self._give_up(number, now)
        self._close_when_empty()

    # ── the mapper ──────────────────────────────────────────────────────────────────────────────

    def _opened(self, result: GatherResult | Failure, now: float) -> None:
        self._opening -= 1
        if isinstance(result, Address):
            self._sockets.append(result)
        elif isinstance(result, Failure):
            self._failure = UnreachableError(f"cannot ask the gateway: {result.reason}")
        if self._opening:
            return
        if self._failure is not None:
            wanted, self._wanted = self._wanted, {}
            for base in wanted.values():
                self._told(NotMapped(base, self._gateway, self._failure), now)
            self._is_closed = True
        if self._is_closed:
            self._close_when_empty()
            return
        self._mapper = PortMapper(_mappers(self._sockets, self._gateway, self._random))
        for number, base in tuple(self._wanted.items()):
            self._map(number, base, self._mapper, now)

    def _map(self, number: int, base: Base, mapper: PortMapper, now: float) -> None:
        protocol = Protocol.UDP if base.transport is Transport.UDP else Protocol.TCP
        # The same port outside, if it is free, is what the peer's own NAT is least surprised by.
        mapper.map(number, Wish(protocol, base.local.port, base.local.port), now)
        self._collect(mapper, now)

    def _give_up(self, number: int, now: float) -> None:
        self._wanted.pop(number, None)
        self._settled.discard(number)
        if self._mapper is not None:
            self._mapper.unmap(number, now)
            self._collect(self._mapper, now)

    def _collect(self, mapper: PortMapper, now: float) -> None:
        while (event := mapper.next_event()) is not None:
            if isinstance(event, Exchange):
                self._exchange(mapper, event)
            else:
                self._take(event, now)
        self._close_when_empty()

    def _exchange(self, mapper: PortMapper, event: Exchange) -> None:
        def answered(result: GatherResult | Failure, now: float) -> None:
            if isinstance(result, HttpResponse | Failure):
                mapper.answer(event.request_id, result, now)
                self._collect(mapper, now)

        self._desk.ask(partial(_renumbered, event), answered)

    def _take(self, event: PortMapEvent, now: float) -> None:
        match event:
            case Mapped(number, mapping):
                base = self._wanted.get(number)
                if base is None or number in self._settled:
                    # A renewal: with another external address it is one for a restart to tell.
                    return
                self._settled.add(number)
                self._told(MappedPort(base, mapping.method, mapping.gateway, mapping.external), now)
            case MappingFailed(number, _, reason):
                base = self._wanted.pop(number, None)
                if base is not None and number not in self._settled:
                    self._told(NotMapped(base, self._gateway, UnreachableError(reason)), now)
                self._settled.discard(number)
            case MappingLost() | Unmapped() | GatewayRestarted() | Speaks() | Silent():
                pass

    def _close_when_empty(self) -> None:
        held = self._mapper is not None and len(self._mapper) > 0
        if self._is_closed and not held:
            for local in self._sockets:
                self._desk.tell(CloseSocket(local))
            self._sockets.clear()
            self._mapper = None


def _renumbered(exchange: Exchange, number: int) -> Exchange:
    return Exchange(number, exchange.url, exchange.headers, exchange.body, exchange.limit)


def _mappers(
    sockets: Sequence[Address], gateway: Address, random: RandomBytes
) -> dict[Method, Mapper]:
    """By preference, the best first; NAT-PMP is of IPv4 alone (RFC 6886 §1)."""
    to_gateway = [Path(Transport.UDP, local, gateway) for local in sockets]
    to_group = Path(Transport.UDP, sockets[0], IgdMapper.group(gateway.family))
    mappers: dict[Method, Mapper] = {Method.PCP: GatewayMapper(to_gateway[0], Pcp(), random=random)}
    if len(to_gateway) > 1:
        mappers[Method.NAT_PMP] = GatewayMapper(to_gateway[1], NatPmp(), random=random)
    mappers[Method.UPNP] = IgdMapper(to_group, gateway.host, random=random)
    return mappers
