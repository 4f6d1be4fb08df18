"""RFC 3263 §4 as a walk through what is known.

The walk is run from the start when an answer came that it stood before.  It reads answers from
``known``, notes in ``wanted`` what it would have to read, and ends either there or with a plan.  So
all that can be asked at once is asked at once, and nothing is waited for that cannot change the
result.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.machine import Failure, Transport
from sipdns.decisions import Decision, Step, Verdict
from sipdns.naptr import Rule, describe, judge
from sipdns.plan import NOTHING, Candidate, Plan
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
from sipdns.srv_order import by_priority, first_probabilities
from sipdns.targets import RankedTarget

__all__ = ["Look", "Procedure", "Rank"]

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

Look = Callable[[Question], Answer | Failure | None]
"""What is known about a question."""

Rank = Callable[[Iterable[str]], Sequence[Sequence[str]]]
"""Addresses by rank, best first: :func:`sipdns.address_order.rank_addresses`."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A candidate for the transport: its service and the name of its SRV or address records."""

    service: Service
    name: str
    type: RecordType
    reason: str


class Procedure:
    """One run of the walk: :meth:`run`, then read what it found.

    ``wanted`` are the questions to ask, those that may turn out to be needless among them.  Another
    run gets further only when all questions of one of the sets in ``waits`` are known.  ``read``
    are the questions whose answers the walk went by.

    ``in_a_hurry`` makes it ask for the addresses that it will need should an answer that is
    overdue never come.
    """

    def __init__(
        self,
        search: Search,
        known: Look,
        asked: Collection[Question],
        rank: Rank,
        *,
        in_a_hurry: bool = False,
    ) -> None:
        # A dict for its order: the walk may come by one decision twice.
        self._decisions: dict[Decision, None] = dict.fromkeys(search.decisions)
        self.wanted: dict[Question, None] = {}
        self.waits: list[frozenset[Question]] = []
        self.read: set[Question] = set()
        self.failures: list[str] = []
        self._search = search
        self._known = known
        self._asked = asked
        self._rank = rank
        self._in_a_hurry = in_a_hurry

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided, in order."""
        return tuple(self._decisions)

    def run(self) -> Plan | None:
        """The plan, which may lead nowhere; or None when more must be known, see ``wanted``."""
        search = self._search
        if search.default is None:
            return NOTHING
        services = search.services if search.every_transport else (search.default,)
        if search.is_numeric:
            return _joined([self._numeric(service) for service in services])
        if search.port is not None:
            plans = []
            for service in services:
                self._choose(service, self._default_reason("an explicit port"))
                plans.append(self._hosts(service, search.target, search.port))
            return _joined(plans)
        ways = self._ways()
        if ways is None:
            return None
        considered = self._considered_ways(ways)
        if search.every_transport:
            return _joined([self._by_way(way, is_own=not way.reason) for way in considered])
        plan = self._first(considered)
        if plan is None or plan.leads_anywhere:
            return plan
        return self._fall_back(considered, ways[0].service if ways else search.default)

    # -- §4.1: the transport

    def _numeric(self, service: Service) -> Plan:
        search = self._search
        self._choose(service, self._default_reason("a numeric host"))
        port = service.default_port if search.port is None else search.port
        reason = "no lookup: " + (
            "the default port" if search.port is None else f"the port of the {search.source}"
        )
        address = Address.of(search.target, port)
        self._decide(Step.ADDRESS, str(address), Verdict.CHOSEN, reason, search.address_rfc)
        target = RankedTarget(service.transport, address, search.target, search.tls_name)
        return _plan_of([target])

    def _default_reason(self, why: str) -> str:
        if self._search.transport_is_given:
            return f"the {self._search.source} names it"
        if self._search.every_transport:
            return f"each of ours, for {why}"
        return f"the default, for {why}"

    def _ways(self) -> list[_Way] | None:
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
            if search.default is not None:
                self._choose(search.default, f"the {search.source} names it")
            return own
        rules = self._rules(search.target, [], search.services)
        if rules is None:
            if self._in_a_hurry:
                self._look_ahead(own)
            return None
        if not rules:
            return own
        ways = [_way(rule, service) for rule in rules for service in rule.services]
        if search.every_transport:
            return ways
        named = {service.transport for rule in rules for service in rule.services}
        # RFC 3263 §4.1: a domain keeps SRV records of its own even where its NAPTR lead elsewhere.
        return ways + [way for way in own if way.service.transport in named]

    def _rules(
        self, name: str, path: Sequence[str], services: Sequence[Service]
    ) -> list[Rule] | None:
        """The rules of the lowest order that has any, terminal ones only."""
        if not any(service.naptr for service in services):
            return []
        question = Question(name, RecordType.NAPTR)
        answer = self._look(question)
        if answer is None:
            self._wait_for([question])
            return None
        if not isinstance(answer, Answer) or answer.status is not Status.RECORDS:
            self._absent(Step.NAPTR, question, answer, self._search.transport_rfc)
            return []
        records = [one for one in answer.records if isinstance(one, NaptrRecord)]
        orders, passed_over = judge(records, services)
        self._decisions.update(dict.fromkeys(passed_over))
        for rules in orders:
            terminal = self._terminal(rules, [*path, name], services)
            if terminal is None:
                return None
            if terminal:
                self._pass_over_higher(orders, rules)
                return terminal
        return []

    def _terminal(
        self, rules: Sequence[Rule], path: Sequence[str], services: Sequence[Service]
    ) -> list[Rule] | None:
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
            # RFC 3958 §2.2.2: what a record says of its services holds for all behind it.
            found = self._rules(following, path, rule.services or services)
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

    def _look_ahead(self, ways: Sequence[_Way]) -> None:
        for way in ways:
            answer = self._known(Question(way.name, way.type))
            if isinstance(answer, Answer):
                for record in _open_records(answer)[:LARGEST_SRV_SET]:
                    self._want(_address_questions(record.target))

    # -- §4.2: port and address

    def _considered_ways(self, ways: Sequence[_Way]) -> Sequence[_Way]:
        """Each name once, not too many; they are asked for at once."""
        distinct: dict[tuple[Transport, str, RecordType], _Way] = {}
        for way in ways:
            distinct.setdefault((way.service.transport, way.name, way.type), way)
        considered = list(distinct.values())[:MOST_WAYS]
        if len(considered) < len(distinct):
            reason = f"{len(distinct)} SRV names; those after the first {MOST_WAYS} are left out"
            search = self._search
            self._decide(
                Step.TRANSPORT, search.target, Verdict.PASSED_OVER, reason, search.transport_rfc
            )
        for way in considered:
            is_srv = way.type is RecordType.SRV
            self._want([Question(way.name, way.type)] if is_srv else _address_questions(way.name))
        return considered

    def _first(self, ways: Sequence[_Way]) -> Plan | None:
        """The plan of the first way that has any: its transport is the one selected."""
        for way in ways:
            plan = self._by_way(way)
            if plan is None or plan.leads_anywhere:
                return plan
        return NOTHING

    def _by_way(self, way: _Way, *, is_own: bool = False) -> Plan | None:
        """What one way leads to.

        ``is_own`` falls back to the domain's addresses by itself (RFC 5928 §3 step 5).
        """
        if way.type is RecordType.SRV:
            plan = self._by_srv(way, self._search.target if is_own else None)
        else:
            plan = self._hosts(way.service, way.name, way.service.default_port)
        if plan is not None and plan.leads_anywhere and not self._search.transport_is_given:
            reason = "the first of ours that the domain has SRV records for"
            if self._search.every_transport:
                reason = "one of ours, in the order that we prefer"
            self._choose(way.service, way.reason or reason)
        return plan

    def _by_srv(self, way: _Way, host_without_srv: str | None) -> Plan | None:
        question = Question(way.name, RecordType.SRV)
        answer = self._look(question)
        if answer is None:
            self._wait_for([question])
            return None
        if not isinstance(answer, Answer) or answer.status is not Status.RECORDS:
            self._absent(Step.SRV, question, answer, self._search.address_rfc)
            if host_without_srv is None:
                return NOTHING
            return self._hosts(way.service, host_without_srv, way.service.default_port)
        ordered = _open_records(answer)
        if len(ordered) < len(answer.records):
            reason = f'{way.service.transport}: the target "." says that it is not offered'
            self._decide(Step.SRV, way.name, Verdict.PASSED_OVER, reason, "RFC 2782")
        considered = ordered[:LARGEST_SRV_SET]
        if len(considered) < len(ordered):
            reason = f"{len(ordered)} records; those after the first {LARGEST_SRV_SET} are left out"
            self._decide(Step.SRV, way.name, Verdict.PASSED_OVER, reason, "RFC 2782")
        hosts = self._addresses_of([record.target for record in considered])
        if hosts is None:
            return None
        if considered:
            number = "1 record" if len(considered) == 1 else f"{len(considered)} records"
            reason = f"{number}, by priority and weight"
            self._decide(Step.SRV, way.name, Verdict.CHOSEN, reason, "RFC 2782")
        return Plan(
            tuple(
                tuple(
                    self._candidate(way.service, record, hosts[record.target], probability)
                    for record, probability in zip(group, first_probabilities(group), strict=True)
                )
                for group in by_priority(considered)
            )
        )

    def _candidate(
        self,
        service: Service,
        record: SrvRecord,
        ranks: Sequence[Sequence[str]],
        probability: float,
    ) -> Candidate:
        self._explain_host(record.target, Step.SRV)
        return Candidate(
            record.weight,
            tuple(
                tuple(
                    RankedTarget(
                        service.transport,
                        Address(address, record.port),
                        record.target,
                        self._search.tls_name,
                        record.priority,
                        record.weight,
                        probability,
                    )
                    for address in rank
                )
                for rank in ranks
            ),
        )

    def _fall_back(self, ways: Sequence[_Way], service: Service) -> Plan | None:
        """The domain's own addresses, if none of the ways has an SRV record (RFC 3263 §4.2)."""
        search = self._search
        names = [Question(way.name, way.type) for way in ways if way.type is RecordType.SRV]
        answers = [self._look(question) for question in names]
        if any(answer is None for answer in answers):
            self._wait_for(names)
            return None
        for question, answer in zip(names, answers, strict=True):
            if isinstance(answer, Answer) and answer.status is Status.RECORDS:
                reason = f"no fall-back to addresses, since {question.name} has SRV records"
                self._decide(
                    Step.ADDRESS, search.target, Verdict.PASSED_OVER, reason, search.address_rfc
                )
                return NOTHING
        if not search.transport_is_given:
            from_naptr = service is not search.default
            reason = "NAPTR names it" if from_naptr else "the default, for want of SRV records"
            self._choose(service, reason)
        return self._hosts(service, search.target, service.default_port)

    def _hosts(self, service: Service, host: str, port: int) -> Plan | None:
        hosts = self._addresses_of([host])
        if hosts is None:
            return None
        ranks = hosts[host]
        self._explain_host(host, Step.ADDRESS)
        if ranks:
            count = sum(len(rank) for rank in ranks)
            number = "1 address" if count == 1 else f"{count} addresses"
            which = f"port {port} of the {self._search.source}"
            if port != self._search.port:
                which = f"the default port {port}"
            reason = f"{number}, {which}"
            self._decide(Step.ADDRESS, host, Verdict.CHOSEN, reason, self._search.address_rfc)
        tls_name = self._search.tls_name
        return _plan_of(
            *(
                [
                    RankedTarget(service.transport, Address(address, port), host, tls_name)
                    for address in rank
                ]
                for rank in ranks
            )
        )

    def _addresses_of(self, hosts: Collection[str]) -> dict[str, Sequence[Sequence[str]]] | None:
        """The addresses of each host by rank; None when one is not known yet."""
        questions = {host: _address_questions(host) for host in hosts}
        found: dict[str, list[str]] = {host: [] for host in questions}
        waiting = False
        for host, pair in questions.items():
            for question in pair:
                answer = self._look(question)
                if isinstance(answer, Answer):
                    found[host] += _addresses(answer)
                waiting = waiting or answer is None
        if waiting:
            self._wait_for([question for pair in questions.values() for question in pair])
            return None
        return {host: self._rank(addresses) for host, addresses in found.items()}

    def _explain_host(self, host: str, step: Step) -> None:
        """What is worth knowing about a host's address records."""
        answers = [(question, self._look(question)) for question in _address_questions(host)]
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
        self.read.add(question)
        return self._known(question)

    def _want(self, questions: Iterable[Question]) -> None:
        for question in questions:
            self.wanted[question] = None

    def _wait_for(self, questions: Iterable[Question]) -> None:
        """Of these, all must be known before the walk gets past this place."""
        self.waits.append(frozenset(one for one in questions if self._known(one) is None))

    def _choose(self, service: Service, reason: str) -> None:
        rfc = self._search.transport_rfc
        self._decide(Step.TRANSPORT, service.transport, Verdict.CHOSEN, reason, rfc)

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


def _addresses(answer: Answer) -> list[str]:
    return [one.address for one in answer.records if isinstance(one, AddressRecord)]


def _open_records(answer: Answer) -> list[SrvRecord]:
    """The SRV records by priority, but for those whose target "." says that nothing is offered."""
    records = [one for one in answer.records if isinstance(one, SrvRecord) and one.target != "."]
    return [record for group in by_priority(records) for record in group]


def _way(rule: Rule, service: Service) -> _Way:
    type_ = RecordType.SRV if rule.flag == "s" else RecordType.A
    return _Way(service, rule.record.replacement, type_, f"NAPTR {describe(rule.record)}")


def _plan_of(*ranks: Sequence[RankedTarget]) -> Plan:
    """A host that was found without SRV records."""
    return Plan(((Candidate(0, tuple(tuple(rank) for rank in ranks)),),)) if ranks else NOTHING


def _joined(plans: Sequence[Plan | None]) -> Plan | None:
    """One plan after the other; None when one of them is not known yet."""
    groups: list[tuple[Candidate, ...]] = []
    for plan in plans:
        if plan is None:
            return None
        groups += plan.groups
    return Plan(tuple(groups))
