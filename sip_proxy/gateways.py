"""Gateways: groups of them by priority and weight, who is up, and how many calls each carries.

A gateway is down when requests to it, or OPTIONS that ask after it, failed several times in a row;
it gets no calls then until OPTIONS are answered again.  Any answer but 503 is one: a gateway that
rejects OPTIONS is there.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from natkit.address import Address, IPNetwork
from natkit.errors import MisuseError
from natkit.machine import RandomBytes
from natkit.sip import SipUri
from natkit.timers import TimerQueue
from sipdns.srv_order import weighted

__all__ = ["Gateway", "GatewaySettings", "GatewayState", "Gateways", "Probing", "Seat"]

MOST_CALLS: Final = 100_000
"""Calls that are counted at a time; the one that began the longest ago makes room."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway of a group.

    The lowest ``priority`` is tried first, those of one priority in the proportion of their
    weights.  ``networks``: where its own requests come from.  ``largest_calls`` is how many it may
    carry at a time, None for any number.  ``is_trusted``: whether it may see identities that their
    owners withhold (RFC 3325 §3).
    """

    name: str
    group: str
    uri: SipUri
    priority: int = 0
    weight: int = 1
    networks: tuple[IPNetwork, ...] = ()
    largest_calls: int | None = None
    is_trusted: bool = True


@dataclass(frozen=True, slots=True)
class Probing:
    """How gateways are asked after: times in seconds, and how often in a row something counts.

    Each interval is lengthened or shortened by a tenth at random, so that probes spread.
    """

    interval: float = 30.0
    patience: float = 5.0
    down_after: int = 3
    up_after: int = 1


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The gateways; ``probing`` None: they are asked after never, and so never down.

    ``longest_call``: seconds after which a call no longer counts, for its end may go unseen.
    """

    gateways: tuple[Gateway, ...] = ()
    probing: Probing | None = None
    longest_call: float = 14_400.0

    def __post_init__(self) -> None:
        names = [each.name for each in self.gateways]
        for name in names:
            if names.count(name) > 1:
                raise MisuseError(f"two gateways are called {name!r}")

    @property
    def groups(self) -> frozenset[str]:
        """The names of all groups."""
        return frozenset(each.group for each in self.gateways)


@dataclass(frozen=True, slots=True)
class GatewayState:
    """What is known of a gateway: for the status page and the metrics."""

    gateway: Gateway
    is_up: bool
    calls: int
    failures_in_a_row: int


@dataclass(frozen=True, slots=True)
class Seat:
    """A call's place at a gateway."""

    gateway: str
    call_id: str


class _Known:
    __slots__ = ("calls", "failures", "gateway", "is_up", "successes")

    def __init__(self, gateway: Gateway, calls: int) -> None:
        self.gateway = gateway
        self.is_up = True
        self.calls = calls
        self.failures = 0
        self.successes = 0


class Gateways:
    """All gateways of a proxy.  ``now`` is monotonic seconds.

    ``changed`` is called with the state of one that went down or came up.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        random: RandomBytes,
        changed: Callable[[GatewayState], None],
    ) -> None:
        self._random = random
        # Those that the settings no longer name are here too, for the sake of their last calls.
        self._known: dict[str, _Known] = {}
        self.configure(settings)
        # In the order in which they began.
        self._seats: OrderedDict[Seat, None] = OrderedDict()
        self._ends: TimerQueue[Seat] = TimerQueue()
        self._changed = changed

    def __len__(self) -> int:
        return len(self._settings.gateways)

    def configure(self, settings: GatewaySettings) -> None:
        """Go by other settings from now on: one of the same name and URI stays as it is."""
        self._settings = settings
        self._networks = tuple(network for each in settings.gateways for network in each.networks)
        for gateway in settings.gateways:
            known = self._known.get(gateway.name)
            if known is not None and known.gateway.uri == gateway.uri:
                known.gateway = gateway
            else:
                self._known[gateway.name] = _Known(gateway, 0 if known is None else known.calls)

    def are_at(self, remote: Address) -> bool:
        """Whether a gateway's requests come from there."""
        return any(remote.ip in network for network in self._networks)

    def are_trusted_at(self, remote: Address) -> bool:
        """Whether a gateway's requests come from there, and it is one that is trusted."""
        return any(
            remote.ip in network
            for known in self._known.values()
            if known.gateway.is_trusted
            for network in known.gateway.networks
        )

    def state(self, name: str) -> GatewayState:
        """What is known of one."""
        known = self._known[name]
        return GatewayState(known.gateway, known.is_up, known.calls, known.failures)

    def states(self) -> Sequence[GatewayState]:
        """What is known of all, in the order of the configuration."""
        return [self.state(each.name) for each in self._settings.gateways]

    # ── choosing ────────────────────────────────────────────────────────────────────────────────

    def in_order(self, groups: Sequence[str]) -> list[Gateway]:
        """Those to try: one group after the other, each by priority, drawn by weight; none down."""
        chosen: list[Gateway] = []
        for group in groups:
            listed = (self._known[each.name] for each in self._settings.gateways)
            up = [
                known.gateway
                for known in listed
                if known.gateway.group == group and known.is_up and not self._is_full(known)
            ]
            up.sort(key=lambda one: one.priority)
            for _, alike in groupby(up, key=lambda one: one.priority):
                chosen += weighted(list(alike), self._draw)
        return chosen

    def _draw(self, count: int) -> int:
        return int.from_bytes(self._random(8), "big") % count

    # ── calls ───────────────────────────────────────────────────────────────────────────────────

    def seat(self, name: str, call_id: str, now: float) -> Seat | None:
        """A place for a call, None where the gateway carries all it may."""
        known = self._known[name]
        seat = Seat(name, call_id)
        if seat in self._seats:
            return seat
        if self._is_full(known):
            return None
        while len(self._seats) >= MOST_CALLS:
            self.leave(next(iter(self._seats)))
        self._seats[seat] = None
        known.calls += 1
        self._ends.set(seat, now + self._settings.longest_call)
        return seat

    def leave(self, seat: Seat) -> None:
        """A call is over, or did not come about; harmless for one that left before."""
        if seat in self._seats:
            del self._seats[seat]
            self._ends.cancel(seat)
            self._known[seat.gateway].calls -= 1

    def hung_up(self, call_id: str) -> None:
        """A BYE with this Call-ID passed."""
        if self._seats:
            for name in self._known:
                self.leave(Seat(name, call_id))

    def handle_timer(self, now: float) -> None:
        """Calls whose end went unseen leave."""
        for seat in self._ends.pop_due(now):
            self.leave(seat)

    def next_deadline(self) -> float | None:
        """When the first of them is to leave."""
        return self._ends.next_deadline()

    @staticmethod
    def _is_full(known: _Known) -> bool:
        largest = known.gateway.largest_calls
        return largest is not None and known.calls >= largest

    # ── health ──────────────────────────────────────────────────────────────────────────────────

    def answered(self, name: str, *, by_probe: bool = False) -> None:
        """It gave an answer that is none of failure; only probes bring one up again."""
        known, probing = self._known[name], self._settings.probing
        known.failures = 0
        if known.is_up or probing is None or not by_probe:
            return
        known.successes += 1
        if known.successes >= probing.up_after:
            known.is_up = True
            self._changed(self.state(name))

    def failed(self, name: str) -> None:
        """It was silent, could not be reached, or sent a 503."""
        known, probing = self._known[name], self._settings.probing
        known.successes = 0
        known.failures += 1
        if known.is_up and probing is not None and known.failures >= probing.down_after:
            known.is_up = False
            self._changed(self.state(name))
