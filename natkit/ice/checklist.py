"""The check list of a stream: which pairs there are, and which is checked next (RFC 8445 §6.1)."""

from bisect import insort
from collections import deque
from collections.abc import Iterator
from enum import Enum, auto

from natkit.address import Address
from natkit.ice.candidate import Candidate, TcpType
from natkit.ice.explanation import PairState
from natkit.ice.pair import Local, Pair, PairKey
from natkit.machine import Path, Transport

MOST_TRIGGERED_IN_A_ROW = 3
"""Triggered checks before one that waits has its turn."""

_UNDECIDED = (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS)


class ChecklistState(Enum):
    """RFC 8445 §6.1.2.1."""

    RUNNING = auto()
    COMPLETED = auto()
    FAILED = auto()


class Checklist:
    """The pairs of one stream by falling priority, and the queue of triggered checks."""

    __slots__ = (
        "_by_key",
        "_triggered_in_a_row",
        "nominations",
        "pairs",
        "started_at",
        "state",
        "triggered",
    )

    def __init__(self) -> None:
        self.state = ChecklistState.RUNNING
        self.pairs: list[Pair] = []
        self.triggered: deque[Pair] = deque()
        self.nominations: deque[Pair] = deque()
        """Valid pairs whose nominating check is to be sent next (RFC 8445 §8.1.1)."""
        self.started_at: float | None = None
        self._by_key: dict[PairKey, Pair] = {}
        self._triggered_in_a_row = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def get(self, key: PairKey) -> Pair | None:
        """The pair of a path, or None."""
        return self._by_key.get(key)

    def of_component(self, component: int) -> Iterator[Pair]:
        """The pairs of a component by falling priority."""
        return (pair for pair in self.pairs if pair.remote.component == component)

    def add(self, pair: Pair) -> None:
        """Put a pair in its place; nobody has its key."""
        self._by_key[pair.key] = pair
        insort(self.pairs, pair, key=_rank)

    def remove(self, pair: Pair) -> None:
        """Forget a pair."""
        del self._by_key[pair.key]
        self.pairs.remove(pair)
        for queue in (self.triggered, self.nominations):
            if pair in queue:
                queue.remove(pair)

    def reprioritise(self, *, controlling: bool) -> None:
        """The role changed, or a candidate's priority (RFC 8445 §7.2.5.1, §7.3.1.1)."""
        for pair in self.pairs:
            pair.prioritise(controlling=controlling)
        self.pairs.sort(key=_rank)

    def trigger(self, pair: Pair) -> None:
        """Queue a triggered check (RFC 8445 §7.3.1.4)."""
        pair.state = PairState.WAITING
        if pair not in self.triggered:
            self.triggered.append(pair)

    def next_pair(self) -> Pair | None:
        """The pair to check now: to nominate it, triggered, or the best that waits (§6.1.4.2).

        After some triggered checks one that waits has its turn.  Between two NATs that give each
        destination another port, every triggered check leads to a new address and so to the next
        one: without end, and in vain.
        """
        while self.nominations:
            pair = self.nominations.popleft()
            if pair.is_valid:
                return pair
        waiting = next((pair for pair in self.pairs if pair.state is PairState.WAITING), None)
        while self.triggered:
            if self._triggered_in_a_row >= MOST_TRIGGERED_IN_A_ROW and waiting is not None:
                break
            pair = self.triggered.popleft()
            if pair.state is PairState.WAITING:
                self._triggered_in_a_row += 1
                return pair
        self._triggered_in_a_row = 0
        return waiting

    def stop(self, component: int, below: int | None = None) -> list[Pair]:
        """A pair was selected: the checks that wait are off (RFC 8445 §8.1.1).

        Only those of pairs with a priority less than ``below``, if that is given.  Returns the
        pairs that had a check under way, which is to be stopped too.
        """
        under_way = []
        for pair in self.of_component(component):
            if pair.state not in _UNDECIDED or (below is not None and pair.priority >= below):
                continue
            if pair.state is PairState.IN_PROGRESS:
                under_way.append(pair)
            pair.state = PairState.DROPPED
            pair.reason = "another pair was selected"
        return under_way

    def is_exhausted(self, component: int) -> bool:
        """Whether no pair of the component can become valid any more, unless another one comes."""
        return not any(
            pair.state in _UNDECIDED or pair.is_valid for pair in self.of_component(component)
        )


def _rank(pair: Pair) -> int:
    return -pair.priority


def may_pair(local: Local, remote: Candidate, address: Address) -> bool:
    """Whether the two make a pair (RFC 8445 §6.1.2.2; RFC 6544 §6.2)."""
    mine = local.source
    if mine.component != remote.component or mine.transport is not remote.transport:
        return False
    if mine.base.family is not address.family:
        return False
    if is_link_local(mine.base) != is_link_local(address):
        return False
    if mine.transport is Transport.TCP:
        # A pair whose local candidate is passive comes to be when the peer connects.
        return (
            mine.tcp_type is not None
            and mine.tcp_type is not TcpType.PASSIVE
            and remote.tcp_type is mine.tcp_type.opposite
        )
    return True


def is_link_local(address: Address) -> bool:
    """Whether it is an IPv6 link-local address, which pairs with its like alone."""
    host = address.host
    return ":" in host and host[:3].lower() in ("fe8", "fe9", "fea", "feb")


def on_link_of(base: Address, address: Address) -> Address:
    """A link-local remote address with the zone of the base that it is paired with."""
    zone = base.host.partition("%")[2]
    if zone and is_link_local(address) and "%" not in address.host:
        return Address(f"{address.host}%{zone}", address.port)
    return address


def new_pair(local: Local, remote: Candidate, address: Address, *, controlling: bool) -> Pair:
    """A pair of a datagram path, or of a connection that is still to be opened."""
    address = on_link_of(local.source.base, address)
    path = None
    if local.source.transport is Transport.UDP:
        path = Path(Transport.UDP, local.source.base, address)
    pair = Pair(local, remote, address, path)
    pair.prioritise(controlling=controlling)
    return pair
