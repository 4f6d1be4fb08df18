"""A lookup as a machine: it asks by Requests, and ends in one :class:`Resolved` event."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Family
from natkit.errors import DnsFailure, LocateError, NoService
from natkit.machine import Failure, Path, Request, RequestId, Transmit
from natkit.timers import TimerQueue
from sipdns.address_order import order_addresses
from sipdns.decisions import Step, Verdict
from sipdns.procedure import Procedure
from sipdns.records import Answer, Question, SrvRecord
from sipdns.search import Search
from sipdns.srv_order import Draw, order
from sipdns.targets import Asked, Outcome, RankedTarget

__all__ = ["AskDns", "Limits", "Resolution", "Resolved"]

MOST_QUESTIONS: Final = 300
"""Questions of one lookup: enough for the largest SRV set that is looked at, and an end to what a
hostile zone can make us ask."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a question may stay open, and the lookup as a whole, in seconds.

    ``straggler`` is for when another question was answered already: the DNS works then, and a
    nameserver that never answers for NAPTR or SRV must not hold up a call.  It leaves room for the
    retransmissions that a lossy path needs.
    """

    query: float = 5.0
    straggler: float = 3.0
    whole: float = 15.0


@dataclass(frozen=True, slots=True)
class AskDns(Request):
    """Ask the DNS.  Result: Answer, or Failure when it cannot be had."""

    question: Question
    round: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The lookup has ended; nothing more is asked or awaited."""

    outcome: Outcome


Event = AskDns | Resolved


class Resolution:
    """Finds the servers of one :class:`Search`.

    ``draw`` makes the choices that RFC 2782 leaves to chance.  ``usable`` are the families that the
    host has a route for; ``prefer`` puts one first.
    """

    def __init__(
        self,
        search: Search,
        *,
        draw: Draw,
        now: float,
        limits: Limits | None = None,
        usable: Sequence[Family] = tuple(Family),
        prefer: Family | None = None,
    ) -> None:
        self._search = search
        self._draw = draw
        self._limits = limits or Limits()
        self._usable = usable
        self._prefer = prefer
        self._known: dict[Question, Answer | Failure] = {}
        self._rounds: dict[Question, int] = {}
        self._results: dict[Question, str] = {}
        self._open: dict[RequestId, tuple[Question, float]] = {}
        self._timers: TimerQueue[RequestId] = TimerQueue()
        self._events: deque[Event] = deque()
        self._deadline = now + self._limits.whole
        self._srv_orders: dict[Question, Sequence[SrvRecord]] = {}
        self._address_orders: dict[tuple[str, ...], Sequence[str]] = {}
        self._blocked_on: set[Question] = set()
        self._round = 0
        self._answered = False
        self._resolved = False
        self._advance(now)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """No data arrives here: the shell's answers carry records."""

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def transmits(self) -> Sequence[Transmit]:
        """Nothing: all is asked by Requests."""
        return ()

    def next_event(self) -> Event | None:
        """Take the next event: a Request for the DNS, or the end."""
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        """When the question that is open longest is given up."""
        return self._timers.next_deadline()

    def answer(self, request_id: RequestId, result: Answer | Failure, now: float) -> None:
        """The DNS's answer; one that comes after its deadline is dropped."""
        if request_id not in self._open:
            return
        if isinstance(result, Answer) and not self._answered:
            self._answered = True
            for other, (_, asked_at) in self._open.items():
                self._timers.set(other, min(asked_at + self._limits.straggler, self._deadline))
        self._learn(request_id, result)
        if not self._blocked_on.isdisjoint(self._known):
            self._advance(now)

    def handle_timer(self, now: float) -> None:
        """Give up the questions whose time is over."""
        expired = list(self._timers.pop_due(now))
        for request_id in expired:
            waited = now - self._open[request_id][1]
            self._learn(request_id, Failure(f"no answer within {waited:.0f} s"))
        if expired:
            self._advance(now)

    def _learn(self, request_id: RequestId, result: Answer | Failure) -> None:
        asked, _ = self._open.pop(request_id)
        self._timers.cancel(request_id)
        self._known[asked] = result
        self._round = max(self._round, self._rounds[asked])
        match result:
            case Failure(reason):
                self._results[asked] = reason
            case Answer(status, records):
                self._results[asked] = f"{len(records)} {status.value}" if records else status.value
                for question, extra in result.additional:
                    self._known.setdefault(question, Answer(status, extra))

    def _advance(self, now: float) -> None:
        if self._resolved:
            return
        while True:
            walk = Procedure(
                self._search,
                self._known,
                self._rounds,
                self._order,
                self._order_addresses,
            )
            targets = walk.run()
            if targets is not None:
                self._resolve(walk, targets)
                return
            self._blocked_on = walk.blocked_on
            if self._ask(walk, now) or self._open:
                return

    def _ask(self, walk: Procedure, now: float) -> bool:
        """Ask what is wanted and was not asked; whether anything is to be waited for."""
        new = [one for one in walk.wanted if one not in self._rounds and one not in self._known]
        room = MOST_QUESTIONS - len(self._rounds)
        if now >= self._deadline:
            room = 0
        for question in new[:room]:
            request = AskDns(len(self._rounds), question, self._round + 1)
            self._rounds[question] = request.round
            self._open[request.request_id] = (question, now)
            limit = self._limits.straggler if self._answered else self._limits.query
            self._timers.set(request.request_id, min(now + limit, self._deadline))
            self._events.append(request)
        for question in new[room:]:
            self._known[question] = Failure("not asked: the lookup is at its limit")
        return bool(new[:room])

    def _resolve(self, walk: Procedure, targets: tuple[RankedTarget, ...]) -> None:
        self._resolved = True
        for request_id in self._open:
            self._timers.cancel(request_id)
        self._open.clear()
        asked = tuple(
            Asked(question, round_, self._results.get(question, "not needed"))
            for question, round_ in self._rounds.items()
        )
        self._events.append(
            Resolved(
                Outcome(
                    self._search.uri,
                    targets,
                    walk.decisions,
                    asked,
                    None if targets else self._error(walk),
                )
            )
        )

    def _error(self, walk: Procedure) -> LocateError:
        if walk.failures:
            return DnsFailure(f"the DNS gave no answer for {walk.failures[-1]}")
        telling = [
            one
            for one in walk.decisions
            if (one.step, one.verdict)
            in ((Step.SRV, Verdict.PASSED_OVER), (Step.ADDRESS, Verdict.ABSENT))
        ]
        why = (telling or walk.decisions)[-1]
        return NoService(f"{self._search.uri} leads to no server: {why.subject}: {why.reason}")

    def _order(self, question: Question, records: Sequence[SrvRecord]) -> Sequence[SrvRecord]:
        # Drawn once: the walk comes by here whenever an answer arrives.
        if question not in self._srv_orders:
            self._srv_orders[question] = order(records, self._draw)
        return self._srv_orders[question]

    def _order_addresses(self, host: str, addresses: Sequence[str]) -> Sequence[str]:
        key = (host, *addresses)
        if key not in self._address_orders:
            self._address_orders[key] = order_addresses(
                addresses, self._draw, usable=self._usable, prefer=self._prefer
            )
        return self._address_orders[key]
