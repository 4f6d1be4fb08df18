"""A lookup as a machine: it asks by Requests, and ends in one :class:`Resolved` event."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Family
from natkit.errors import DnsFailure, LocateError, NoService
from natkit.machine import Failure, Path, Request, RequestId, Transmit
from natkit.timers import TimerQueue
from sipdns.address_order import rank_addresses
from sipdns.cache import Remembered, lifetime, shortest_ttl
from sipdns.decisions import Step, Verdict
from sipdns.plan import Plan
from sipdns.procedure import Procedure
from sipdns.records import Answer, Question, Status
from sipdns.search import Search
from sipdns.srv_order import Draw
from sipdns.targets import Asked, Outcome, Source

__all__ = ["AskDns", "Limits", "Recall", "Resolution", "Resolved"]

MOST_QUESTIONS: Final = 300
"""Questions of one lookup: enough for the largest SRV set that is looked at, and an end to what a
hostile zone can make us ask."""

_HURRY: Final = -1
"""The timer after which a lookup prepares to do without what is overdue; Requests count from 0."""

Recall = Callable[[Question, float], Remembered | None]
"""What a cache knows at a time: :meth:`sipdns.cache.Cache.get`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a question may stay open, and the lookup as a whole, in seconds.

    ``straggler`` is for when another question was answered already: the DNS works then, and a
    nameserver that never answers for NAPTR or SRV must not hold up a call.  It leaves room for the
    retransmissions that a lossy path needs.  ``overdue`` after the first answer, what will be
    needed without the missing ones is asked for too.
    """

    query: float = 5.0
    straggler: float = 3.0
    overdue: float = 0.5
    whole: float = 15.0


@dataclass(frozen=True, slots=True)
class AskDns(Request):
    """Ask the DNS.  Result: Answer, Remembered from a stale cache, or Failure."""

    question: Question
    round: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The lookup has ended; nothing more is asked or awaited.

    ``plan`` may be used until ``expires_at``, when the first of the answers that led to it ends.
    """

    outcome: Outcome
    plan: Plan
    expires_at: float


Event = AskDns | Resolved


@dataclass(frozen=True, slots=True)
class _Known:
    """What came of a question, when its answer ends, and how many round trips led there."""

    result: Answer | Failure
    expires_at: float
    round: int
    source: Source = Source.NETWORK


@dataclass(slots=True)
class _Wait:
    """Questions that must all be known, and those of them that are not."""

    questions: frozenset[Question]
    missing: set[Question]


def _knows_nothing(_question: Question, _now: float) -> None:
    """The recall of a lookup without a cache."""


class Resolution:
    """Finds the servers of one :class:`Search`.

    ``draw`` makes the choices that RFC 2782 leaves to chance.  ``usable`` are the families that the
    host has a route for; ``prefer`` puts one first.  ``recall`` is asked before the DNS is.
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
        recall: Recall = _knows_nothing,
    ) -> None:
        self._search = search
        self._draw = draw
        self._limits = limits or Limits()
        self._usable = usable
        self._prefer = prefer
        self._recall = recall
        self._known: dict[Question, _Known] = {}
        self._rounds: dict[Question, int] = {}
        self._open: dict[RequestId, tuple[Question, float]] = {}
        self._timers: TimerQueue[RequestId] = TimerQueue()
        self._events: deque[Event] = deque()
        self._now = now
        self._deadline = now + self._limits.whole
        self._waits: list[_Wait] = []
        self._answered = False
        self._in_a_hurry = False
        self._resolved = False
        self._advance(now, 0)

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

    def answer(
        self, request_id: RequestId, result: Answer | Remembered | Failure, now: float
    ) -> None:
        """The DNS's answer; one that comes after its deadline is dropped."""
        if request_id not in self._open:
            return
        if not isinstance(result, Failure) and not self._answered:
            self._answered = True
            self._timers.set(_HURRY, now + self._limits.overdue)
            for other, (_, asked_at) in self._open.items():
                self._timers.set(other, min(asked_at + self._limits.straggler, self._deadline))
        self._go_on(self._learn(request_id, result, now), now)

    def handle_timer(self, now: float) -> None:
        """Give up the questions whose time is over."""
        learnt: list[Question] = []
        for timer in list(self._timers.pop_due(now)):
            if timer == _HURRY:
                self._in_a_hurry = True
                self._advance(now, 1)
            elif timer in self._open:
                waited = now - self._open[timer][1]
                learnt += self._learn(timer, Failure(f"no answer within {waited:.0f} s"), now)
        self._go_on(learnt, now)

    # -- learning

    def _learn(
        self, request_id: RequestId, result: Answer | Remembered | Failure, now: float
    ) -> list[Question]:
        """Note a result; gives the questions that are known by it."""
        question, _ = self._open.pop(request_id)
        self._timers.cancel(request_id)
        round_ = self._rounds[question]
        match result:
            case Failure():
                self._known[question] = _Known(result, now, round_)
                return [question]
            case Answer():
                return self._note(question, result, now, now + lifetime(result), round_)
            case Remembered():
                return self._remember(question, result, now, round_)

    def _remember(
        self, question: Question, found: Remembered, now: float, round_: int = 0
    ) -> list[Question]:
        source = Source.STALE if found.is_stale else Source.CACHE
        return self._note(question, found.answer, now - found.age, found.expires_at, round_, source)

    def _note(
        self,
        question: Question,
        answer: Answer,
        answered_at: float,
        expires_at: float,
        round_: int,
        source: Source = Source.NETWORK,
    ) -> list[Question]:
        self._known[question] = _Known(answer, expires_at, round_, source)
        learnt = [question]
        for extra, records in answer.additional:
            extra_ends = answered_at + shortest_ttl(records)
            # What the cache has is recalled with its age, and holds no longer for that.
            if extra not in self._known and (source is Source.NETWORK or extra_ends > self._now):
                also = Answer(Status.RECORDS, records)
                self._known[extra] = _Known(also, extra_ends, round_, source)
                learnt.append(extra)
        return learnt

    def _look(self, question: Question) -> Answer | Failure | None:
        known = self._known.get(question)
        if known is None and question not in self._rounds:
            found = self._recall(question, self._now)
            if found is not None:
                self._remember(question, found, self._now)
                return found.answer
        return None if known is None else known.result

    # -- going on

    def _go_on(self, learnt: Iterable[Question], now: float) -> None:
        """Walk again, if something that the walk stands before is complete."""
        for question in learnt:
            for wait in self._waits:
                wait.missing.discard(question)
        complete = [wait for wait in self._waits if not wait.missing]
        if complete:
            rounds = (self._known[one].round for wait in complete for one in wait.questions)
            self._advance(now, max(rounds, default=0))

    def _advance(self, now: float, after: int) -> None:
        """Walk as far as it goes; new questions follow upon the answers of round ``after``."""
        if self._resolved:
            return
        self._now = now
        while True:
            walk = Procedure(
                self._search, self._look, self._rounds, self._rank, in_a_hurry=self._in_a_hurry
            )
            plan = walk.run()
            if plan is not None:
                self._resolve(walk, plan)
                return
            self._waits = [_Wait(one, set(one)) for one in walk.waits]
            if not self._ask(walk, now, after + 1):
                return

    def _ask(self, walk: Procedure, now: float, round_: int) -> bool:
        """Ask what is wanted and not known; whether some of it is settled without being asked."""
        new = [one for one in walk.wanted if one not in self._rounds and self._look(one) is None]
        room = 0 if now >= self._deadline else MOST_QUESTIONS - len(self._rounds)
        for question in new[:room]:
            request = AskDns(len(self._rounds), question, round_)
            self._rounds[question] = round_
            self._open[request.request_id] = (question, now)
            limit = self._limits.straggler if self._answered else self._limits.query
            self._timers.set(request.request_id, min(now + limit, self._deadline))
            self._events.append(request)
        for question in new[room:]:
            reason = Failure("not asked: the lookup is at its limit")
            self._known[question] = _Known(reason, now, round_ - 1)
        return bool(new[room:])

    # -- the end

    def _resolve(self, walk: Procedure, plan: Plan) -> None:
        self._resolved = True
        for request_id in (*self._open, _HURRY):
            self._timers.cancel(request_id)
        self._open.clear()
        self._waits.clear()
        targets = plan.arrange(self._draw)
        error = None if targets else self._error(walk)
        outcome = Outcome(self._search.uri, targets, walk.decisions, self._asked(), error)
        ends = (self._known[one].expires_at for one in walk.read if one in self._known)
        # A numeric host needs no answer, so its plan holds for ever.
        self._events.append(Resolved(outcome, plan, min(ends, default=float("inf"))))

    def _asked(self) -> tuple[Asked, ...]:
        rows = []
        for question in dict.fromkeys((*self._rounds, *self._known)):
            known = self._known.get(question)
            if known is None:
                rows.append(Asked(question, self._rounds[question], "not needed"))
            elif question in self._rounds:
                round_ = self._rounds[question]
                rows.append(
                    Asked(question, round_, _told(known.result), known.result, known.source)
                )
            elif known.source is not Source.NETWORK:
                rows.append(Asked(question, 0, _told(known.result), known.result, known.source))
        return tuple(rows)

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

    def _rank(self, addresses: Iterable[str]) -> Sequence[Sequence[str]]:
        return rank_addresses(addresses, usable=self._usable, prefer=self._prefer)


def _told(result: Answer | Failure) -> str:
    match result:
        case Failure(reason):
            return reason
        case Answer(status, records):
            return f"{len(records)} {status.value}" if records else status.value
