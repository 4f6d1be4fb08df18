"""The diagnosis of one URI, as a machine.

First come the lookups: the caller's own, and one for each transport alone.  Then the rules run over
what is known and ask for more, until none has anything left to ask.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.machine import Failure, Path, Request, RequestId, Transmit, Transport
from sipdns.diagnosis.catalogue import RULES
from sipdns.diagnosis.facts import Facts, Known, Surroundings, services_of
from sipdns.diagnosis.finding import Check, Finding, NotTested, Rule, Severity, Status
from sipdns.diagnosis.reply import Inquiry, Reply
from sipdns.records import Answer, Question, RecordType
from sipdns.resolution import AskDns, Limits, Resolution, Resolved
from sipdns.search import Search, read_uri
from sipdns.srv_order import Draw
from sipdns.targets import Outcome

__all__ = ["AskServer", "Diagnosis", "Examination", "Examined", "Query"]

MOST_QUERIES: Final = 500
"""Questions and inquiries of one diagnosis: ten times what a large domain takes, and an end to what
a hostile one can make us ask."""

MOST_PASSES: Final = 24
"""Times that the rules run: the longest chain of questions, of CNAMEs or NAPTR, has ten."""


@dataclass(frozen=True, slots=True)
class AskServer(Request):
    """Send one query to one server.  Result: Reply, or Failure."""

    inquiry: Inquiry


@dataclass(frozen=True, slots=True)
class Query:
    """A question of the diagnosis, and what came of it.

    ``round`` counts the round trips before it within the caller's lookup; 0 is for what only the
    diagnosis asked.
    """

    question: Question
    round: int
    answer: Answer | Failure


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found out.

    ``outcome`` is the lookup of a caller with the transports at hand; ``plans`` are those of
    callers with one transport each.
    """

    search: Search
    outcome: Outcome
    plans: tuple[tuple[Transport, Outcome], ...]
    queries: tuple[Query, ...]
    replies: tuple[tuple[Inquiry, Reply | Failure], ...]
    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of all checks, but that what a lookup does not need cannot make it an error."""
        statuses = {one.status for one in self.checks}
        if Status.FAILED in statuses:
            return Status.FAILED
        untested = [one for one in self.checks if one.status is Status.ERROR]
        if any(one.rule.area.is_essential for one in untested):
            return Status.ERROR
        for status in (Status.WARNING, Status.INFO):
            if status in statuses:
                return status
        return Status.PASSED


@dataclass(frozen=True, slots=True)
class Examined:
    """The end."""

    diagnosis: Diagnosis


Event = AskDns | AskServer | Examined


class Examination:
    """Diagnoses ``uri`` for a caller that speaks ``transports``; MisuseError when it is none."""

    def __init__(
        self,
        uri: str,
        transports: Sequence[Transport],
        *,
        draw: Draw,
        now: float,
        surroundings: Surroundings,
        limits: Limits | None = None,
    ) -> None:
        self._search = read_uri(uri, transports)
        self._surroundings = surroundings
        self._known = Known()
        self._rounds: dict[Question, int] = {}
        self._events: deque[Event] = deque()
        self._open: dict[RequestId, Question | Inquiry] = {}
        self._asked: dict[Question | Inquiry, RequestId] = {}
        self._waiting: dict[Question, list[tuple[Resolution, RequestId]]] = {}
        self._passes = 0
        self._outcomes: dict[int, Outcome] = {}
        searches = [self._search]
        alone = [one for one in services_of(self._search) if _may_use(uri, one)]
        searches += [read_uri(uri, (one,)) for one in alone]
        self._alone = alone
        self._lookups = [Resolution(one, draw=draw, now=now, limits=limits) for one in searches]
        self._turn(now)

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
        """When a lookup gives up a question."""
        deadlines = [one.next_deadline() for one in self._lookups]
        return min((one for one in deadlines if one is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Let the lookups give up what takes too long; the rules still wait for it."""
        for one in self._lookups:
            one.handle_timer(now)
        self._turn(now)

    def answer(self, request_id: RequestId, result: Answer | Reply | Failure, now: float) -> None:
        """What came of a Request."""
        asked = self._open.pop(request_id)
        if isinstance(asked, Inquiry):
            if not isinstance(result, Answer):
                self._known.replies[asked] = result
        elif not isinstance(result, Reply):
            self._known.answers[asked] = result
            for lookup, own_id in self._waiting.pop(asked, ()):
                lookup.answer(own_id, result, now)
        self._turn(now)

    def _turn(self, now: float) -> None:
        for index, lookup in enumerate(self._lookups):
            while (event := lookup.next_event()) is not None:
                match event:
                    case Resolved(outcome):
                        self._outcomes[index] = outcome
                    case AskDns(own_id, question):
                        self._pass_on(index, lookup, own_id, event.round, question, now)
        if len(self._outcomes) == len(self._lookups) and not self._open:
            self._examine()

    def _pass_on(
        self,
        index: int,
        lookup: Resolution,
        own_id: RequestId,
        round_: int,
        question: Question,
        now: float,
    ) -> None:
        if index == 0:
            self._rounds[question] = round_
        known = self._known.answers.get(question)
        if known is not None:
            lookup.answer(own_id, known, now)
        elif self._ask(question):
            self._waiting.setdefault(question, []).append((lookup, own_id))
        else:
            lookup.answer(own_id, Failure("not asked: the diagnosis is at its limit"), now)

    def _ask(self, asked: Question | Inquiry) -> bool:
        """Ask, unless that was done before; False at the limit."""
        if asked in self._asked:
            return True
        if len(self._asked) >= MOST_QUERIES:
            return False
        request_id = len(self._asked)
        self._asked[asked] = request_id
        self._open[request_id] = asked
        if isinstance(asked, Inquiry):
            self._events.append(AskServer(request_id, asked))
        else:
            self._events.append(AskDns(request_id, asked, self._rounds.get(asked, 0)))
        return True

    def _examine(self) -> None:
        self._passes += 1
        plans = {
            transport: self._outcomes[index] for index, transport in enumerate(self._alone, start=1)
        }
        wanted: dict[Question | Inquiry, None] = {}
        checks = []
        for rule in RULES:
            facts = Facts(self._search, self._outcomes[0], plans, self._known, self._surroundings)
            checks.append(_apply(rule, facts))
            wanted |= facts.wanted
        if self._passes < MOST_PASSES and self._has_answers():
            for asked in wanted:
                self._ask(asked)
        if not self._open:
            self._events.append(Examined(self._diagnosis(plans, checks)))

    def _has_answers(self) -> bool:
        """Whether asking on has a point; a DNS that is silent is silent for the rules as well."""
        found = self._known.answers.values()
        return not found or any(isinstance(one, Answer) for one in found)

    def _diagnosis(self, plans: dict[Transport, Outcome], checks: Sequence[Check]) -> Diagnosis:
        queries = [
            Query(question, self._rounds.get(question, 0), answer)
            for question, answer in self._known.answers.items()
        ]
        # By round, and in it as a caller goes on; what the diagnosis alone asked comes last.
        types = [RecordType.NAPTR, RecordType.SRV, RecordType.AAAA, RecordType.A]
        queries.sort(
            key=lambda one: (
                one.round == 0,
                one.round,
                types.index(one.question.type) if one.question.type in types else len(types),
                one.question.name,
            )
        )
        return Diagnosis(
            self._search,
            self._outcomes[0],
            tuple(plans.items()),
            tuple(queries),
            tuple(self._known.replies.items()),
            tuple(checks),
        )


def _may_use(uri: str, transport: Transport) -> bool:
    """Whether a caller that speaks this transport alone could use the URI."""
    return read_uri(uri, (transport,)).default is not None


_STATUSES: Final = {
    Severity.FAULT: Status.FAILED,
    Severity.WARNING: Status.WARNING,
    Severity.NOTE: Status.INFO,
}


def _apply(rule: Rule, facts: Facts) -> Check:
    """Run one rule over what is known."""
    if rule.id in facts.surroundings.accepted:
        return Check(rule, Status.NOT_TESTED, (), "accepted")
    findings: list[Finding] = []
    untested = ""
    try:
        findings.extend(rule.find(facts))
    except NotTested as absent:
        untested = str(absent)
    reason = next(iter(facts.gaps), "")
    if findings:
        return Check(rule, _STATUSES[rule.severity], tuple(findings), reason)
    if facts.gaps:
        # Nothing is wrong with what lies beyond a zone file: it is only not there to be seen.
        status = Status.NOT_TESTED if facts.surroundings.offline else Status.ERROR
        return Check(rule, status, (), reason)
    if facts.wanted:
        return Check(rule, Status.ERROR, (), "what it needs was not asked any more")
    if untested:
        return Check(rule, Status.NOT_TESTED, (), untested)
    return Check(rule, Status.PASSED, ())
