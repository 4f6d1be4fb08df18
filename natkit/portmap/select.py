"""One mapper out of several: each protocol is tried at once, and the best that answers is used.

A gateway that speaks more than one keeps one table of mappings behind them all, so nothing is
mapped by two: the trial is a question that changes nothing.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from typing import Protocol as Interface

from natkit.errors import MisuseError
from natkit.machine import Failure, Path, RequestId, Transmit
from natkit.portmap.ledger import MOST_WISHES
from natkit.portmap.mapping import (
    GatewayRestarted,
    Left,
    Mapped,
    MappingFailed,
    MappingLost,
    Method,
    PortMapEvent,
    Silent,
    Speaks,
    Unmapped,
    Wish,
)
from natkit.portmap.upnp.igd import Exchange, HttpResponse

__all__ = ["GRACE", "Mapper", "PortMapEvent", "PortMapper"]

GRACE: Final = 1.0
"""Seconds that a better protocol is waited for after a lesser one answered."""


class Mapper(Interface):
    """What GatewayMapper and IgdMapper have in common."""

    def can_say(self, wish: Wish) -> bool:
        """Whether the protocol has words for all of a wish."""
        ...

    def probe(self, now: float) -> None:
        """Find out whether the gateway speaks it: Speaks or Silent follows."""
        ...

    def map(self, wish_id: int, wish: Wish, now: float) -> None:
        """Ask for a mapping and keep it."""
        ...

    def unmap(self, wish_id: int, now: float) -> None:
        """Remove a mapping."""
        ...

    def remove(self, wish_id: int, left: Left, now: float) -> None:
        """Remove what an earlier life left behind."""
        ...

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived."""
        ...

    def answer(self, request_id: RequestId, result: HttpResponse | Failure, now: float) -> None:
        """The outcome of a request."""
        ...

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        ...

    def next_deadline(self) -> float | None:
        """When to call handle_timer."""
        ...

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        ...

    def next_event(self) -> PortMapEvent | Exchange | None:
        """Take the next event."""
        ...


@dataclass(slots=True, eq=False)
class _Wanted:
    """One wish: who maps it now, and who has refused it."""

    wish: Wish
    by: Method | None = None
    refusals: dict[Method, MappingFailed] = field(default_factory=dict)


class PortMapper:
    """Mappings by whichever protocol the gateway speaks; a machine (see :mod:`natkit.machine`).

    ``mappers`` by preference, the best first.  A wish that the best one cannot say or refuses goes
    to the next; MappingFailed tells what each said.  Speaks and Silent are told for each protocol.
    """

    def __init__(self, mappers: dict[Method, Mapper], *, grace: float = GRACE) -> None:
        self._mappers = mappers
        self._grace = grace
        self._speaking: dict[Method, str | None] = {}
        self._silent: dict[Method, str] = {}
        self._wanted: dict[int, _Wanted] = {}
        self._decide_at: float | None = None
        self._decided = False
        self._probed = False
        self._owners: dict[RequestId, tuple[Mapper, RequestId]] = {}
        self._last_request_id = 0
        self._events: deque[PortMapEvent | Exchange] = deque()

    def __len__(self) -> int:
        return len(self._wanted)

    # ── what is wanted ──────────────────────────────────────────────────────────────────────────

    def probe(self, now: float) -> None:
        """Ask every protocol at once whether the gateway speaks it."""
        self._probed = True
        self._speaking.clear()
        self._silent.clear()
        self._decided = False
        self._decide_at = None
        for mapper in self._mappers.values():
            mapper.probe(now)
        self._collect(now)

    def map(self, wish_id: int, wish: Wish, now: float) -> None:
        """Ask for a mapping and keep it, by the best protocol that grants it."""
        if wish_id in self._wanted or len(self._wanted) >= MOST_WISHES:
            raise MisuseError("the mapping is wanted already, or there are too many")
        self._wanted[wish_id] = _Wanted(wish)
        if not self._probed:
            self.probe(now)
        if self._decided:
            self._begin(wish_id, now)
            self._collect(now)

    def unmap(self, wish_id: int, now: float) -> None:
        """Remove a mapping; one that is not wanted is no error."""
        wanted = self._wanted.get(wish_id)
        if wanted is None:
            return
        if wanted.by is None:
            del self._wanted[wish_id]
            self._events.append(Unmapped(wish_id, confirmed=True))
            return
        self._mappers[wanted.by].unmap(wish_id, now)
        self._collect(now)

    def remove(self, wish_id: int, left: Left, now: float) -> None:
        """Remove what an earlier life of this program left behind: Unmapped follows.

        By the protocol that made it, if the gateway speaks that still; to be called after the
        choice, which the first Mapped, MappingFailed or :attr:`is_decided` shows.
        """
        if left.method not in self._speaking:
            self._events.append(Unmapped(wish_id, confirmed=False))
            return
        self._mappers[left.method].remove(wish_id, left, now)
        self._collect(now)

    @property
    def wanted(self) -> tuple[int, ...]:
        """The numbers of the mappings that are kept or asked for."""
        return tuple(self._wanted)

    @property
    def is_decided(self) -> bool:
        """Whether it is known which protocols the gateway speaks, as far as anybody waits."""
        return self._decided

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram arrived; each protocol knows its own."""
        for mapper in self._mappers.values():
            mapper.receive(data, path, now)
        self._collect(now)

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def answer(self, request_id: RequestId, result: HttpResponse | Failure, now: float) -> None:
        """The outcome of an Exchange."""
        owner = self._owners.pop(request_id, None)
        if owner is not None:
            mapper, own_id = owner
            mapper.answer(own_id, result, now)
            self._collect(now)

    def handle_timer(self, now: float) -> None:
        """What is due in each protocol, and the choice among them."""
        for mapper in self._mappers.values():
            mapper.handle_timer(now)
        self._collect(now)
        if self._decide_at is not None and now >= self._decide_at:
            self._decide(now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        deadlines = [mapper.next_deadline() for mapper in self._mappers.values()]
        return min(
            (each for each in (*deadlines, self._decide_at) if each is not None), default=None
        )

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        return [each for mapper in self._mappers.values() for each in mapper.transmits()]

    def next_event(self) -> PortMapEvent | Exchange | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── the choice ──────────────────────────────────────────────────────────────────────────────

    def _collect(self, now: float) -> None:
        """Take the events of all protocols; what one leads to may be an event of another."""
        again = True
        while again:
            again = False
            for method, mapper in self._mappers.items():
                while (event := mapper.next_event()) is not None:
                    again = True
                    self._take(method, mapper, event, now)

    def _take(
        self, method: Method, mapper: Mapper, event: PortMapEvent | Exchange, now: float
    ) -> None:
        match event:
            case Exchange(own_id, url, headers, body, limit):
                self._last_request_id += 1
                self._owners[self._last_request_id] = mapper, own_id
                self._events.append(Exchange(self._last_request_id, url, headers, body, limit))
            case Speaks(_, host):
                self._speaking[method] = host
                self._events.append(event)
                self._consider(now)
            case Silent(_, reason):
                self._silent[method] = reason
                self._events.append(event)
                self._consider(now)
            case MappingFailed(wish_id):
                self._refused(wish_id, method, event, now)
            case Unmapped(wish_id):
                self._wanted.pop(wish_id, None)
                self._events.append(event)
            case Mapped() | MappingLost() | GatewayRestarted():
                self._events.append(event)

    def _consider(self, now: float) -> None:
        """Decide at once when nothing better can come, else give it a moment."""
        if self._decided:
            return
        undecided = [each for each in self._mappers if each not in self._silent]
        if not undecided or undecided[0] in self._speaking:
            self._decide(now)
        elif self._speaking and self._decide_at is None:
            self._decide_at = now + self._grace

    def _decide(self, now: float) -> None:
        self._decided = True
        self._decide_at = None
        for wish_id in list(self._wanted):
            if self._wanted[wish_id].by is None:
                self._begin(wish_id, now)
        self._collect(now)

    def _begin(self, wish_id: int, now: float) -> None:
        """Give the wish to the best protocol that speaks, can say it, and has not refused it."""
        wanted = self._wanted[wish_id]
        for method, mapper in self._mappers.items():
            if (
                method in self._speaking
                and method not in wanted.refusals
                and mapper.can_say(wanted.wish)
            ):
                wanted.by = method
                mapper.map(wish_id, wanted.wish, now)
                return
        del self._wanted[wish_id]
        self._events.append(self._why(wish_id, wanted))

    def _refused(self, wish_id: int, method: Method, failed: MappingFailed, now: float) -> None:
        wanted = self._wanted.get(wish_id)
        if wanted is None:
            return
        wanted.refusals[method] = failed
        wanted.by = None
        self._begin(wish_id, now)

    def _why(self, wish_id: int, wanted: _Wanted) -> MappingFailed:
        reasons: list[str] = []
        for method, mapper in self._mappers.items():
            if method in wanted.refusals:
                reasons.append(wanted.refusals[method].reason)
            elif method in self._silent:
                reasons.append(self._silent[method])
            elif not mapper.can_say(wanted.wish):
                reasons.append(f"{method.upper()} has no words for it")
        refusals = list(wanted.refusals.values())
        first = refusals[0] if refusals else None
        method = first.method if first is not None else next(iter(self._mappers))
        code = first.code if first is not None else None
        retry = first.retry_after if first is not None else None
        return MappingFailed(wish_id, method, "; ".join(reasons), code, retry)
