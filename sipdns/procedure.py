"""RFC 3263 §4 as a walk through what is known.

The walk is run from the start whenever an answer came.  It reads answers from ``known``, notes in
``wanted`` what it would have to read, and ends either there or with targets.  So all that can be
asked at once is asked at once, and nothing is waited for that cannot change the result.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.machine import Failure
from sipdns.decisions import Decision, Step, Verdict
from sipdns.naptr import Rule, describe, judge
from sipdns.records import (
    AddressRecord,
    Answer,
    NaptrRecord,
    Question,
    RecordType,
    SrvRecord,
    Status,
)
from sipdns.search import Search
from sipdns.services import Service
from sipdns.srv_order import first_probability
from sipdns.targets import RankedTarget

__all__ = ["Knowledge", "Procedure"]

LARGEST_SRV_SET: Final = 128
"""SRV records of one name that are looked at, in order of priority.  Real sets have under ten; each
record costs two queries, which an attacker would have us send for his (RFC 2782 sets no limit)."""

LONGEST_REWRITE: Final = 5
"""Non-terminal NAPTR records followed one after another (RFC 3403 §4.1 asks for a limit)."""

LARGEST_REWRITE: Final = 16
"""NAPTR names asked for in one lookup, in breadth."""

MOST_WAYS: Final = 32
"""SRV names that one lookup tries: far more than there are transports, and an end to NAPTR sets
that name ever more."""

Knowledge = Mapping[Question, Answer | Failure]


@dataclass(frozen=True, slots=True)
class _Way:
    """A candidate for the transport: its service and the name of its SRV or address records."""

    service: Service
    name: str
    type: RecordType
    reason: str


class Procedure:
    """One run of the walk: :meth:`run`, then read what it found.

    ``wanted`` are the questions to ask, those that may turn out to be needless among them;
    without one of ``blocked_on`` another run would end where this one did.
    """

    def __init__(
        self,
        search: Search,
        known: Knowledge,
        asked: Collection[Question],
        order: Callable[[Question, Sequence[SrvRecord]], Sequence[SrvRecord]],
        order_addresses: Callable[[str, Sequence[str]], Sequence[str]],
    ) -> None:
        # A dict for its order: the walk may come by one decision twice.
        self._decisions: dict[Decision, None] = dict.fromkeys(search.decisions)
        self.wanted: dict[Question, None] = {}
        self.blocked_on: set[Question] = set()
        self.failures: list[str] = []
        self._search = search
        self._known = known
        self._asked = asked
        self._order = order
        self._order_addresses = order_addresses

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided, in order."""
        return tuple(self._decisions)

    def run(self) -> tuple[RankedTarget, ...] | None:
        """The targets, which may be none; or None when more must be known, see ``wanted``."""
        search = self._search
        default = search.default
        if default is None:
            return ()
        if search.is_numeric:
            return self._numeric(default)
        if search.port is not None:
            reason = self._default_reason("an explicit port")
            self._decide(
                Step.TRANSPORT,
                default.transport,
                Verdict.CHOSEN,
                reason,
                self._search.transport_rfc,
            )
            return self._hosts(default, search.target, search.port)
        ways = self._ways(default)
        if ways is None:
            return None
        targets = self._first(ways)
        if targets is None or targets:
            return targets
        return self._fall_back(ways[0].service if ways else default)

    # -- §4.1: the transport

    def _numeric(self, default: Service) -> tuple[RankedTarget, ...]:
        search = self._search
        reason = self._default_reason("a numeric host")
        self._decide(
            Step.TRANSPORT, default.transport, Verdict.CHOSEN, reason, self._search.transport_rfc
        )
        port = default.default_port if search.port is None else search.port
        reason = "no lookup: " + (
            "the default port" if search.port is None else "the port of the URI"
        )
        address = Address.of(search.target, port)
        self._decide(Step.ADDRESS, str(address), Verdict.CHOSEN, reason, self._search.address_rfc)
        return (RankedTarget(default.transport, address, search.target, search.tls_name),)

    def _default_reason(self, why: str) -> str:
        if self._search.transport_is_given:
            return "the URI names it"
        return f"the default, for {why}"

    def _ways(self, default: Service) -> list[_Way] | None:
        """The SRV names to try, best first; what may be needed later is asked for at once."""
        search = self._search
        own = [
            _Way(one, f"{one.srv}.{search.target}", RecordType.SRV, "")
            for one in search.services
            if one.srv
        ]
        self._want(Question(way.name, way.type) for way in own)
        self._want(_address_questions(search.target))
        if search.transport_is_given:
            self._decide(
                Step.TRANSPORT,
                default.transport,
                Verdict.CHOSEN,
                "the URI names it",
                self._search.transport_rfc,
            )
            return own
        rules = self._rules(search.target, [])
        if rules is None:
            return None
        if not rules:
            return own
        named = {service.transport for rule in rules for service in rule.services}
        # RFC 3263 §4.1: a domain keeps SRV records of its own even where its NAPTR lead elsewhere.
        return [_way(rule, service) for rule in rules for service in rule.services] + [
            way for way in own if way.service.transport in named
        ]

    def _rules(self, name: str, path: Sequence[str]) -> list[Rule] | None:
        """The rules of the lowest order that has any, terminal ones only."""
        if not any(service.naptr for service in self._search.services):
            return []
        question = Question(name, RecordType.NAPTR)
        answer = self._look(question)
        if answer is None:
            return None
        if not isinstance(answer, Answer) or answer.status is not Status.RECORDS:
            self._absent(Step.NAPTR, question, answer, self._search.transport_rfc)
            return []
        records = [one for one in answer.records if isinstance(one, NaptrRecord)]
        orders, passed_over = judge(records, self._search.services)
        self._decisions.update(dict.fromkeys(passed_over))
        for rules in orders:
            terminal = self._terminal(rules, [*path, name])
            if terminal is None:
                return None
            if terminal:
                self._pass_over_higher(orders, rules)
                return terminal
        return []

    def _terminal(self, rules: Sequence[Rule], path: Sequence[str]) -> list[Rule] | None:
        result: list[Rule] = []
        waiting = False
        for rule in rules:
            if rule.flag:
                reason = "the lowest order, then preference" if len(path) == 1 else "rewritten"
                self._decide(Step.NAPTR, rule.text, Verdict.CHOSEN, reason, "RFC 3403 §4.1")
                result.append(rule)
                continue
            following = rule.record.replacement
            if following in path or len(path) > LONGEST_REWRITE or self._is_too_wide(following):
                reason = "a loop" if following in path else "too many names to follow"
                self._decide(Step.NAPTR, rule.text, Verdict.PASSED_OVER, reason, "RFC 3403 §4.1")
                continue
            self._decide(
                Step.NAPTR, rule.text, Verdict.CHOSEN, "not terminal: asks on", "RFC 3403 §4.1"
            )
            found = self._rules(following, path)
            waiting = waiting or found is None
            result += found or []
        return None if waiting else result

    def _is_too_wide(self, name: str) -> bool:
        """Whether ``name`` would be one NAPTR name too many."""
        questions = {*self.wanted, *self._asked}
        asked = sum(question.type is RecordType.NAPTR for question in questions)
        return asked >= LARGEST_REWRITE and Question(name, RecordType.NAPTR) not in questions

    def _pass_over_higher(self, orders: Sequence[Sequence[Rule]], taken: Sequence[Rule]) -> None:
        for rules in orders:
            for rule in rules:
                if rule.record.order > taken[0].record.order:
                    reason = f"order {taken[0].record.order} applies, so no higher one does"
                    self._decide(
                        Step.NAPTR, rule.text, Verdict.PASSED_OVER, reason, "RFC 3403 §4.1"
                    )

    # -- §4.2: port and address

    def _first(self, ways: Sequence[_Way]) -> tuple[RankedTarget, ...] | None:
        """The targets of the first way that has any: its transport is the one selected."""
        distinct = list({(way.name, way.type): way for way in reversed(ways)}.values())[::-1]
        if len(distinct) > MOST_WAYS:
            reason = f"{len(distinct)} SRV names; those after the first {MOST_WAYS} are left out"
            self._decide(
                Step.TRANSPORT,
                self._search.target,
                Verdict.PASSED_OVER,
                reason,
                self._search.transport_rfc,
            )
        considered = distinct[:MOST_WAYS]
        for way in considered:
            is_srv = way.type is RecordType.SRV
            self._want([Question(way.name, way.type)] if is_srv else _address_questions(way.name))
        for way in considered:
            targets = self._by_srv(way) if way.type is RecordType.SRV else self._by_address(way)
            if targets is None:
                return None
            if targets:
                reason = way.reason or "the first of ours that the domain has SRV records for"
                if not self._search.transport_is_given:
                    self._decide(
                        Step.TRANSPORT,
                        way.service.transport,
                        Verdict.CHOSEN,
                        reason,
                        self._search.transport_rfc,
                    )
                return targets
        return ()

    def _by_srv(self, way: _Way) -> tuple[RankedTarget, ...] | None:
        question = Question(way.name, RecordType.SRV)
        answer = self._look(question)
        if answer is None:
            return None
        if not isinstance(answer, Answer) or answer.status is not Status.RECORDS:
            self._absent(Step.SRV, question, answer, self._search.address_rfc)
            return ()
        records = [one for one in answer.records if isinstance(one, SrvRecord)]
        open_records = [one for one in records if one.target != "."]
        if len(open_records) < len(records):
            reason = 'the target "." says that it is not offered'
            self._decide(
                Step.SRV,
                way.name,
                Verdict.PASSED_OVER,
                f"{way.service.transport}: {reason}",
                "RFC 2782",
            )
        ordered = self._order(question, open_records)
        considered = ordered[:LARGEST_SRV_SET]
        if len(considered) < len(ordered):
            reason = f"{len(ordered)} records; those after the first {LARGEST_SRV_SET} are left out"
            self._decide(Step.SRV, way.name, Verdict.PASSED_OVER, reason, "RFC 2782")
        for record in considered:
            self._want(_address_questions(record.target))
        found = [(record, self._addresses(record.target)) for record in considered]
        if any(addresses is None for _, addresses in found):
            return None
        if considered:
            number = "1 record" if len(considered) == 1 else f"{len(considered)} records"
            self._decide(
                Step.SRV, way.name, Verdict.CHOSEN, f"{number}, by priority and weight", "RFC 2782"
            )
        targets = []
        for record, addresses in found:
            self._explain_host(record.target, Step.SRV)
            targets += [
                RankedTarget(
                    way.service.transport,
                    Address(address, record.port),
                    record.target,
                    self._search.tls_name,
                    record.priority,
                    record.weight,
                    first_probability(record, open_records),
                )
                for address in addresses or ()
            ]
        return tuple(targets)

    def _by_address(self, way: _Way) -> tuple[RankedTarget, ...] | None:
        return self._hosts(way.service, way.name, way.service.default_port)

    def _fall_back(self, service: Service) -> tuple[RankedTarget, ...] | None:
        """The domain's own addresses, if no SRV name answered at all (RFC 3263 §4.2)."""
        search = self._search
        names = [question for question in self.wanted if question.type is RecordType.SRV]
        answers = [self._look(question) for question in names]
        if any(answer is None for answer in answers):
            return None
        for question, answer in zip(names, answers, strict=True):
            if isinstance(answer, Answer) and answer.status is Status.RECORDS:
                reason = f"no fall-back to addresses, since {question.name} has SRV records"
                self._decide(
                    Step.ADDRESS,
                    search.target,
                    Verdict.PASSED_OVER,
                    reason,
                    self._search.address_rfc,
                )
                return ()
        if not search.transport_is_given:
            from_naptr = service is not search.default
            reason = "NAPTR names it" if from_naptr else "the default, for want of SRV records"
            self._decide(
                Step.TRANSPORT,
                service.transport,
                Verdict.CHOSEN,
                reason,
                self._search.transport_rfc,
            )
        return self._hosts(service, search.target, service.default_port)

    def _hosts(self, service: Service, host: str, port: int) -> tuple[RankedTarget, ...] | None:
        self._want(_address_questions(host))
        addresses = self._addresses(host)
        if addresses is None:
            return None
        self._explain_host(host, Step.ADDRESS)
        if addresses:
            number = "1 address" if len(addresses) == 1 else f"{len(addresses)} addresses"
            own = port == self._search.port
            which = f"port {port} of the URI" if own else f"the default port {port}"
            self._decide(
                Step.ADDRESS, host, Verdict.CHOSEN, f"{number}, {which}", self._search.address_rfc
            )
        return tuple(
            RankedTarget(service.transport, Address(address, port), host, self._search.tls_name)
            for address in addresses
        )

    def _addresses(self, host: str) -> Sequence[str] | None:
        answers = [self._look(question) for question in _address_questions(host)]
        if any(answer is None for answer in answers):
            return None
        found = [
            record.address
            for answer in answers
            if isinstance(answer, Answer)
            for record in answer.records
            if isinstance(record, AddressRecord)
        ]
        return self._order_addresses(host, found)

    def _explain_host(self, host: str, step: Step) -> None:
        """What is worth knowing about a host's address records."""
        questions = _address_questions(host)
        answers = [(question, self._look(question)) for question in questions]
        aliases = {
            alias for _, answer in answers if isinstance(answer, Answer) for alias in answer.aliases
        }
        if aliases:
            fault = " (an SRV target must not be one)" if step is Step.SRV else ""
            reason = f"an alias{fault}, followed to {', '.join(sorted(aliases))}"
            rfc = "RFC 2782" if step is Step.SRV else "RFC 1034 §3.6.2"
            self._decide(Step.ADDRESS, host, Verdict.CHOSEN, reason, rfc)
        for question, answer in answers:
            if isinstance(answer, Failure):
                self._absent(Step.ADDRESS, question, answer, self._search.address_rfc)
        nothing = [
            answer
            for _, answer in answers
            if isinstance(answer, Answer) and answer.status is not Status.RECORDS
        ]
        if len(nothing) == len(answers):
            reason = f"{nothing[0].status.value}, neither A nor AAAA"
            self._decide(Step.ADDRESS, host, Verdict.ABSENT, reason, self._search.address_rfc)

    # -- reading and noting

    def _look(self, question: Question) -> Answer | Failure | None:
        self.wanted[question] = None
        answer = self._known.get(question)
        if answer is None:
            self.blocked_on.add(question)
        return answer

    def _want(self, questions: Iterable[Question]) -> None:
        for question in questions:
            self.wanted[question] = None

    def _absent(self, step: Step, question: Question, answer: Answer | Failure, rfc: str) -> None:
        match answer:
            case Failure(reason):
                self.failures.append(f"{question}: {reason}")
                self._decide(step, question.name, Verdict.FAILED, f"{question.type}: {reason}", rfc)
            case Answer(status):
                self._decide(step, question.name, Verdict.ABSENT, f"{status.value}", rfc)

    def _decide(self, step: Step, subject: str, verdict: Verdict, reason: str, rfc: str) -> None:
        self._decisions[Decision(step, subject, verdict, reason, rfc)] = None


def _address_questions(host: str) -> tuple[Question, Question]:
    return Question(host, RecordType.AAAA), Question(host, RecordType.A)


def _way(rule: Rule, service: Service) -> _Way:
    type_ = RecordType.SRV if rule.flag == "s" else RecordType.A
    return _Way(service, rule.record.replacement, type_, f"NAPTR {describe(rule.record)}")
