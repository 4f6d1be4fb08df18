"""What the rules read: all that is known of a domain, and what is still to be asked.

A rule asks for what it needs as it goes.  What is not known yet is noted in ``wanted``; the rules
are run again once it is there.  What the DNS did not answer is noted in ``gaps``, so a rule cannot
take silence for absence: it gets None and goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from natkit.address import Address
from natkit.machine import Failure, Transport
from natkit.sip.grammar import numeric_host
from sipdns.diagnosis.finding import NotTested
from sipdns.diagnosis.reply import Inquiry, Reply
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
from sipdns.services import SIP_SERVICES, STUN_SERVICES, TURN_SERVICES, Service
from sipdns.targets import Outcome

__all__ = ["AddressSet", "Facts", "Known", "SrvSet", "Surroundings", "services_of"]

LARGEST_SRV_SET: Final = 32
"""SRV records of one name whose targets are looked up; a diagnosis needs no more to speak."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and how the diagnosis is made.

    ``unix_time`` is in seconds.  ``resolver`` is the first that is asked, if it speaks plain DNS;
    ``compared`` are resolvers whose answers are held against each other.  ``authority_port`` is
    where authoritative servers listen.  ``offline`` is for a zone file.  ``accepted`` are
    rules that are not applied, because what they find is wanted.
    """

    unix_time: float
    resolver: Address | None = None
    compared: tuple[Address, ...] = ()
    authority_port: int = 53
    offline: bool = False
    accepted: frozenset[str] = frozenset()


@dataclass(slots=True)
class Known:
    """All that was asked, with what came of it."""

    answers: dict[Question, Answer | Failure] = field(default_factory=dict)
    replies: dict[Inquiry, Reply | Failure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SrvSet:
    """The SRV records of one name; ``service`` is what they are for."""

    name: str
    service: Service
    records: tuple[SrvRecord, ...]

    @property
    def offered(self) -> tuple[SrvRecord, ...]:
        """Without the target ``.``, by which a domain says that it has no such service."""
        return tuple(one for one in self.records if one.target != ".")


@dataclass(frozen=True, slots=True)
class AddressSet:
    """The addresses of one host, and the aliases that led to them."""

    host: str
    records: tuple[AddressRecord, ...]
    aliases: tuple[str, ...]


def services_of(search: Search) -> Mapping[Transport, Service]:
    """All services of the URI's scheme, whatever the caller speaks."""
    scheme = search.uri.partition(":")[0]
    return {"stun": STUN_SERVICES, "turn": TURN_SERVICES}.get(scheme.rstrip("s"), SIP_SERVICES)


class Facts:
    """The view of one rule on what is known."""

    def __init__(
        self,
        search: Search,
        outcome: Outcome,
        plans: Mapping[Transport, Outcome],
        known: Known,
        surroundings: Surroundings,
    ) -> None:
        self.search = search
        self.outcome = outcome
        self.plans = plans
        self.surroundings = surroundings
        self.wanted: dict[Question | Inquiry, None] = {}
        self.gaps: dict[str, None] = {}
        self._known = known

    # -- the domain

    @property
    def domain(self) -> str:
        """The name whose NAPTR and SRV records are looked at; NotTested when none is."""
        if self.search.is_numeric:
            raise NotTested("the host is an address: nothing is asked of the DNS")
        if self.search.port is not None:
            raise NotTested("the URI has a port: neither NAPTR nor SRV is asked")
        return self.search.target

    @property
    def is_sip(self) -> bool:
        """Whether the URI is one of SIP."""
        return self.search.uri.startswith("sip")

    @property
    def services(self) -> Mapping[Transport, Service]:
        """All services of the scheme."""
        return services_of(self.search)

    def naptr(self) -> tuple[NaptrRecord, ...]:
        """The domain's NAPTR records for applications of the scheme, in their order."""
        applications = {one.naptr[0].lower() for one in self.services.values() if one.naptr}
        return tuple(
            record
            for record in self.naptr_of(self.domain) or ()
            if record.service.lower().partition("+")[0].partition(":")[0] in {*applications, ""}
        )

    def naptr_of(self, name: str) -> tuple[NaptrRecord, ...] | None:
        """The NAPTR records of a name in their order; None when unknown."""
        found = self._records(Question(name, RecordType.NAPTR))
        if found is None:
            return None
        records = (one for one in found if isinstance(one, NaptrRecord))
        return tuple(sorted(records, key=lambda one: (one.order, one.preference, one.service)))

    def srv(self, name: str) -> tuple[SrvRecord, ...] | None:
        """The SRV records of a name by priority; None when unknown."""
        found = self._records(Question(name, RecordType.SRV))
        if found is None:
            return None
        records = (one for one in found if isinstance(one, SrvRecord))
        return tuple(sorted(records, key=lambda one: (one.priority, -one.weight, one.target)))

    def srv_sets(self) -> tuple[SrvSet, ...]:
        """The SRV sets that lead to the domain's servers: of its own names, and of its NAPTR's."""
        named: dict[str, Service] = {}
        for service in self.services.values():
            if service.srv is not None:
                named[f"{service.srv}.{self.domain}"] = service
        for record, service in self.naptr_services():
            if record.flags.lower() == "s":
                named.setdefault(record.replacement, service)
        sets = []
        for name, service in named.items():
            records = self.srv(name)
            if records:
                sets.append(SrvSet(name, service, records[:LARGEST_SRV_SET]))
        return tuple(sets)

    def naptr_services(self) -> Iterator[tuple[NaptrRecord, Service]]:
        """The NAPTR records that name a service of the scheme, each with that service."""
        by_name = {
            one.naptr_text.lower(): one for one in self.services.values() if one.naptr is not None
        }
        for record in self.naptr():
            service = by_name.get(record.service.lower())
            if service is not None:
                yield record, service

    def hosts(self) -> tuple[str, ...]:
        """The hosts that serve the URI: SRV targets, or else the domain itself."""
        if self.search.is_numeric:
            raise NotTested("the host is an address: nothing is asked of the DNS")
        if self.search.port is not None:
            return (self.search.target,)
        found = dict.fromkeys(record.target for one in self.srv_sets() for record in one.offered)
        for record, _ in self.naptr_services():
            if record.flags.lower() == "a":
                found[record.replacement] = None
        return tuple(one for one in found if _is_name(one)) or (self.domain,)

    def addresses(self, host: str) -> AddressSet | None:
        """The addresses of a host, possibly none; None when they are unknown."""
        types = (RecordType.AAAA, RecordType.A)
        answers = [self.answer(Question(host, one)) for one in types]
        known = [one for one in answers if one is not None]
        records = tuple(
            record for one in known for record in one.records if isinstance(record, AddressRecord)
        )
        if not records and len(known) < len(answers):
            return None
        aliases = dict.fromkeys(alias for one in known for alias in one.aliases)
        return AddressSet(host, records, tuple(aliases))

    # -- the DNS

    def answer(self, question: Question) -> Answer | None:
        """The DNS's answer; None while it is not known, or when there is none."""
        found = self._known.answers.get(question)
        if isinstance(found, Answer):
            return found
        if found is None:
            self.wanted[question] = None
        else:
            self._miss(question, found)
        return None

    def has_failed(self, question: Question) -> Failure | None:
        """Why the DNS gave no answer, without counting it as a gap; None when it gave one."""
        found = self._known.answers.get(question)
        if found is None:
            self.wanted[question] = None
        return found if isinstance(found, Failure) else None

    def reply(self, inquiry: Inquiry) -> Reply | None:
        """What one server replied; None while it is not known, or when it did not."""
        found = self.attempt(inquiry)
        if isinstance(found, Failure):
            self._miss(inquiry, found)
            return None
        return found

    def attempt(self, inquiry: Inquiry) -> Reply | Failure | None:
        """As :meth:`reply`, but a failure is told, for rules to which it means something."""
        found = self._known.replies.get(inquiry)
        if found is None:
            self.wanted[inquiry] = None
        return found

    def miss(self, reason: str) -> None:
        """Note that something could not be tested."""
        self.gaps[reason] = None

    def _records(self, question: Question) -> Sequence[object] | None:
        answer = self.answer(question)
        if answer is None:
            return None
        if answer.status is not Status.RECORDS:
            return ()
        ttl = self._published_ttl(question)
        return answer.records if ttl is None else [replace(one, ttl=ttl) for one in answer.records]

    def _published_ttl(self, question: Question) -> int | None:
        """The TTL in the zone, where its server was asked; a cache tells what is left of it."""
        for inquiry, reply in self._known.replies.items():
            asked = (inquiry.name, inquiry.type) == (question.name, question.type)
            if asked and isinstance(reply, Reply) and reply.authoritative:
                found = reply.find(question.name, question.type)
                return found.ttl if found else None
        return None

    def _miss(self, asked: Question | Inquiry, failure: Failure) -> None:
        self.gaps[f"{asked}: {failure.reason}"] = None


def _is_name(host: str) -> bool:
    return host != "." and numeric_host(host) is None
