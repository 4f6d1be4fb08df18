"""Relayed candidates: allocations at TURN servers, kept as long as the agent may use them.

Each server is asked once for each component.  Of its addresses one after the other is tried, the
next beside one that stays silent; the first that grants is kept, the others are given back.  Both
families are asked for in one allocation; where the server does not know that, in two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from natkit.address import Address, Family
from natkit.errors import NatkitError, TryAlternate
from natkit.gather.desk import Desk
from natkit.gather.events import BaseLost, RelayedDataReceived, Slot
from natkit.gather.lease import Lease
from natkit.gather.pacing import StartQueue
from natkit.gather.settings import GatherSettings, TurnServer
from natkit.locate import Target
from natkit.machine import Path, RandomBytes, Transmit, Transport
from natkit.timers import TimerQueue
from natkit.turn.dual import Both, Wish
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    DataReceived,
    TurnEvent,
)

__all__ = ["Granted", "Refused", "Relayed"]

MOST_TARGETS: Final = 8
"""Addresses of one server that are tried for one component."""

MOST_REDIRECTS: Final = 3
"""Times that one server may send us on to others by 300 (Try Alternate)."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A server relays for ``slot`` at ``relayed``, and sees us as ``mapped``."""

    slot: Slot
    server: TurnServer
    target: Target
    relayed: Address
    mapped: Address | None


@dataclass(frozen=True, slots=True)
class Refused:
    """One address of a server grants nothing, or not of every family; ``error`` tells why."""

    slot: Slot
    server: TurnServer
    target: Target
    error: NatkitError


@dataclass(slots=True, eq=False)
class _Search:
    """One server and one component: the addresses to try, and what is under way."""

    slot: Slot
    server: TurnServer
    wish: Wish
    waiting: list[Target]
    asked: set[tuple[Transport, Address]]
    trying: dict[int, Lease] = field(default_factory=dict)
    starting: int = 0
    redirects: int = 0
    is_over: bool = False


class Relayed:
    """Allocates, tells of grants and refusals, and carries data between agent and allocations."""

    def __init__(
        self,
        settings: GatherSettings,
        desk: Desk,
        starts: StartQueue,
        *,
        random: RandomBytes,
        told: Callable[[Granted | Refused, float], None],
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._starts = starts
        self._random = random
        self._told = told
        self._searches: list[_Search] = []
        self._leases: dict[int, tuple[Lease, _Search]] = {}
        self._by_relayed: dict[Address, Lease] = {}
        self._last = 0
        self._head_starts: TimerQueue[int] = TimerQueue()

    @property
    def is_idle(self) -> bool:
        """Whether every server has granted, or has refused with all its addresses."""
        return all(each.is_over for each in self._searches)

    @property
    def is_empty(self) -> bool:
        """Whether no server holds anything for us."""
        return not self._leases

    def ask(self, slot: Slot, server: TurnServer, targets: Sequence[Target], now: float) -> None:
        """Allocate for ``slot`` at the first of ``targets`` that grants it."""
        self._search(slot, server, targets, _wish(self._settings.families), now)

    def takes(self, path: Path) -> bool:
        """Whether the socket or stream is an allocation's."""
        return any(lease.owns(path) for lease, _ in self._leases.values())

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Something came on a path that :meth:`takes` knows."""
        for lease, search in tuple(self._leases.values()):
            if lease.owns(path):
                lease.allocation.receive(data, path, now)
                self._collect(lease, search, now)
                return

    def disconnected(self, path: Path, now: float) -> None:
        """A stream ended."""
        for lease, search in tuple(self._leases.values()):
            if lease.owns(path):
                lease.allocation.disconnected(path, now)
                self._collect(lease, search, now)

    def handle_timer(self, now: float) -> None:
        """Refresh, retransmit, and try the next address of a silent server."""
        for lease, search in tuple(self._leases.values()):
            deadline = lease.allocation.next_deadline()
            if deadline is not None and deadline <= now:
                lease.allocation.handle_timer(now)
                self._collect(lease, search, now)
        for number in self._head_starts.pop_due(now):
            self._next_target(self._searches[number], now)

    def next_deadline(self) -> float | None:
        """The earliest of all."""
        deadlines = [lease.allocation.next_deadline() for lease, _ in self._leases.values()]
        deadlines.append(self._head_starts.next_deadline())
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent to the servers."""
        return [each for lease, _ in self._leases.values() for each in lease.allocation.transmits()]

    # ── what is relayed ─────────────────────────────────────────────────────────────────────────

    def relays(self, base: Address) -> bool:
        """Whether ``base`` is a relayed address of ours."""
        return base in self._by_relayed

    def send(self, data: bytes, base: Address, peer: Address, now: float) -> None:
        """Send through the server; a relay that can't is as a path that loses the datagram."""
        lease = self._by_relayed.get(base)
        if lease is not None and peer.family is base.family:
            lease.send(data, peer, now)
            self._collect(*self._leases[lease.number], now)

    def permit(self, slot: Slot, peer: Address, now: float) -> None:
        """Have all relays of ``slot`` let the peer's datagrams in, before anything is sent."""
        for base, lease in tuple(self._by_relayed.items()):
            if lease.slot == slot and base.family is peer.family:
                lease.permit(peer, now)
                self._collect(*self._leases[lease.number], now)

    def bind_channel(self, base: Address, peer: Address, now: float) -> None:
        """Bind a channel: most data will take this way."""
        lease = self._by_relayed.get(base)
        if lease is not None and peer.family is base.family:
            lease.bind_channel(peer, now)
            self._collect(*self._leases[lease.number], now)

    # ── ending ──────────────────────────────────────────────────────────────────────────────────

    def end(self, error: NatkitError, now: float) -> None:
        """Wait for no grants any more; what is granted stays."""
        for search in self._searches:
            if search.is_over:
                continue
            open_targets = [lease.target for lease in search.trying.values()] + search.waiting
            self._finish(search, now)
            if open_targets:
                self._told(Refused(search.slot, search.server, open_targets[0], error), now)

    def release(self, base: Address, now: float) -> None:
        """Give back what no pair needs; an allocation of two addresses goes with the second."""
        lease = self._by_relayed.pop(base, None)
        if lease is not None and lease not in self._by_relayed.values():
            self._give_back(lease, now)

    def close(self, now: float) -> None:
        """Give everything back."""
        for search in self._searches:
            self._finish(search, now)
        self._by_relayed.clear()
        for lease, _ in tuple(self._leases.values()):
            self._give_back(lease, now)

    # ── one search ──────────────────────────────────────────────────────────────────────────────

    def _search(
        self, slot: Slot, server: TurnServer, targets: Sequence[Target], wish: Wish, now: float
    ) -> None:
        source = self._settings.relay_from
        fitting = [
            each for each in targets if source is None or each.address.family is source.family
        ]
        if not fitting:
            return
        waiting = fitting[:MOST_TARGETS]
        asked = {(each.transport, each.address) for each in waiting}
        search = _Search(slot, server, wish, waiting, asked)
        self._searches.append(search)
        self._next_target(search, now)

    def _next_target(self, search: _Search, now: float) -> None:
        if search.waiting and not search.starting and not search.is_over:
            search.starting += 1
            self._starts.add(partial(self._begin, search), now)

    def _begin(self, search: _Search, now: float) -> None:
        search.starting -= 1
        if search.is_over or not search.waiting:
            return
        self._last += 1
        lease = Lease(
            self._last,
            search.slot,
            search.server,
            search.waiting.pop(0),
            search.wish,
            local=self._settings.relay_from,
            random=self._random,
        )
        self._leases[lease.number] = lease, search
        search.trying[lease.number] = lease
        lease.allocation.allocate(now)
        self._collect(lease, search, now)
        if search.waiting:
            number = self._searches.index(search)
            self._head_starts.set(number, now + self._settings.head_start)

    def _collect(self, lease: Lease, search: _Search, now: float) -> None:
        """Take what the allocation tells; an answer of the shell comes back here."""
        while (event := lease.allocation.next_event()) is not None:
            if not lease.ask(event, self._desk, lambda at: self._collect(lease, search, at)):
                self._take(lease, search, event, now)

    def _take(self, lease: Lease, search: _Search, event: TurnEvent, now: float) -> None:
        match event:
            case Allocated():
                self._granted(lease, search, event, now)
            case AllocateFailed(error):
                self._failed(lease, search, error, now)
            case AllocationLost(error):
                self._leases.pop(lease.number, None)
                for base in self._addresses(lease):
                    del self._by_relayed[base]
                    self._desk.tell(BaseLost(lease.slot, base, error))
            case AllocationClosed():
                self._leases.pop(lease.number, None)
            case DataReceived(data, peer):
                base = lease.address_of(peer.family)
                if base in self._by_relayed:
                    path = Path(Transport.UDP, base, peer)
                    self._desk.tell(RelayedDataReceived(data, path))
            case _:
                # Permissions and channels: where one fails, the pair's checks fail.
                lease.note(event)

    def _granted(self, lease: Lease, search: _Search, event: Allocated, now: float) -> None:
        if search.is_over:
            self._give_back(lease, now)
            return
        search.trying.pop(lease.number)
        self._finish(search, now)
        granted = [event.relayed] if event.second is None else [event.relayed, event.second]
        for relayed in granted:
            self._by_relayed[relayed] = lease
            lease.addresses[relayed.family] = relayed
            told = Granted(lease.slot, search.server, lease.target, relayed, event.mapped)
            self._told(told, now)
        if event.missing is not None:
            self._told(Refused(search.slot, search.server, lease.target, event.missing), now)
        elif search.wish is Both.FAMILIES and len(granted) == 1:
            # It knows nothing of RFC 8656's two in one: RFC 6156 has one in each of two.
            other = Family.IPV6 if event.relayed.family is Family.IPV4 else Family.IPV4
            self._search(search.slot, search.server, [lease.target], other, now)

    def _failed(self, lease: Lease, search: _Search, error: NatkitError, now: float) -> None:
        self._leases.pop(lease.number, None)
        search.trying.pop(lease.number, None)
        if search.is_over:
            return
        if isinstance(error, TryAlternate) and self._redirect(search, lease, error):
            self._next_target(search, now)
            return
        self._told(Refused(search.slot, search.server, lease.target, error), now)
        self._next_target(search, now)
        if not (search.waiting or search.starting or search.trying):
            self._finish(search, now)

    def _redirect(self, search: _Search, lease: Lease, error: TryAlternate) -> bool:
        """RFC 8489 §10: by the same transport, and never to an address that was asked already."""
        transport = lease.target.transport
        fresh = [each for each in error.servers if (transport, each) not in search.asked]
        if not fresh or search.redirects >= MOST_REDIRECTS:
            return False
        search.redirects += 1
        name = error.domain or lease.target.tls_name
        fresh = fresh[:MOST_TARGETS]
        search.asked.update((transport, each) for each in fresh)
        search.waiting[:0] = [Target(transport, each, lease.target.host, name) for each in fresh]
        return True

    def _finish(self, search: _Search, now: float) -> None:
        if search.is_over:
            return
        search.is_over = True
        self._head_starts.cancel(self._searches.index(search))
        search.waiting.clear()
        losers = list(search.trying.values())
        search.trying.clear()
        for lease in losers:
            self._give_back(lease, now)

    def _give_back(self, lease: Lease, now: float) -> None:
        lease.allocation.close(now)
        held = self._leases.get(lease.number)
        if held is not None:
            self._collect(*held, now)

    def _addresses(self, lease: Lease) -> list[Address]:
        return [base for base, each in self._by_relayed.items() if each is lease]


def _wish(families: frozenset[Family]) -> Wish:
    """Which relayed addresses to ask for; IPv4 alone is what servers give that know no other."""
    match sorted(families):
        case [Family.IPV4]:
            return None
        case [Family.IPV6]:
            return Family.IPV6
        case _:
            return Both.FAMILIES
