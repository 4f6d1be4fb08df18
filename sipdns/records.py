"""What is asked of the DNS and what it answers, as data.

Names are text in one form: lower case, A-labels, no final dot; the root is ``"."``.  Characters
that need it are escaped as in a zone file, so every name that a peer sends has such a form.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum

from natkit.machine import Failure

__all__ = [
    "AddressRecord",
    "Answer",
    "Attempt",
    "Carrier",
    "CnameRecord",
    "NaptrRecord",
    "OtherRecord",
    "Question",
    "Record",
    "RecordType",
    "Security",
    "SrvRecord",
    "Status",
    "Unanswered",
]


class RecordType(StrEnum):
    """The record types that lead to a server, and those that say how a name is served."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"
    NAPTR = "NAPTR"
    CNAME = "CNAME"
    NS = "NS"
    SOA = "SOA"
    DS = "DS"
    DNSKEY = "DNSKEY"


@dataclass(frozen=True, slots=True)
class Question:
    """One query."""

    name: str
    type: RecordType

    def __str__(self) -> str:
        return f"{self.name} {self.type}"


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """An A or AAAA record; ``address`` is the canonical text of the literal."""

    address: str
    ttl: int


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str
    ttl: int


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """RFC 3403 §4.1; the three texts as published."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str
    ttl: int


@dataclass(frozen=True, slots=True)
class CnameRecord:
    """A CNAME on the way to the records: ``name`` is another name for ``target``."""

    name: str
    target: str
    ttl: int


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """A record that leads to no server (CNAME, NS, SOA, DS, DNSKEY), its data as in a zone file."""

    type: RecordType
    text: str
    ttl: int


Record = AddressRecord | SrvRecord | NaptrRecord | OtherRecord


class Carrier(StrEnum):
    """How a query travels."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    """RFC 7858."""
    HTTPS = "https"
    """RFC 8484."""


class Security(StrEnum):
    """What DNSSEC says of an answer (RFC 4033 §5)."""

    SECURE = "secure"
    INSECURE = "insecure"
    """It is proved that the zone is not signed."""
    BOGUS = "bogus"
    """It is signed, or must be, and the proof is missing or wrong."""
    INDETERMINATE = "indeterminate"
    """Nobody who is trusted has said."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One query that was sent, and what came of it.

    ``server`` is ADDRESS:PORT or a URL.  ``rcode`` is None when no answer came that can be read,
    ``size`` is that of the answer in bytes.  ``seconds`` is None for an attempt that was still
    waiting when the question was answered.  ``outcome`` is a word for a person: ``answered``,
    ``truncated``, or why it failed.
    """

    server: str
    carrier: Carrier
    name: str
    seconds: float | None
    outcome: str
    rcode: str | None = None
    size: int = 0
    authenticated: bool = False
    """The AD bit (RFC 4035 §3.2.3)."""
    authoritative: bool = False
    """The AA bit (RFC 1035 §4.1.1)."""
    recursion_available: bool = False
    """The RA bit."""
    truncated: bool = False


class Status(Enum):
    """What the DNS says of a name and type."""

    RECORDS = "records"
    NO_DATA = "no such record"
    """The name exists, or may, without records of this type (RFC 2308 §2.2)."""
    NO_NAME = "no such name"
    """NXDOMAIN (RFC 2308 §2.1)."""
    REFERRAL = "a referral"
    """The servers of a zone that has the name: only where no recursion was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The DNS's answer to a Question; a question that got none has a Failure instead.

    ``aliases`` are the names that CNAMEs led through, the last being the records' owner.
    ``additional`` are complete record sets that came along (RFC 2782, RFC 3403 §4.1): good for the
    lookup that the answer belongs to, and for no other.

    What follows says how the answer came and is no part of it: two answers that differ in nothing
    else are equal.  ``cnames`` are the records behind ``aliases``.  ``negative_ttl`` is how long
    the absence of records holds, in seconds, None when no SOA says (RFC 2308 §5).  ``signed_until``
    is the Unix time at which the first signature ends, if any was checked here.  ``attempts`` are
    the queries in the order sent, ``final`` being the index of the one that brought the answer.
    """

    status: Status
    records: tuple[Record, ...] = ()
    aliases: tuple[str, ...] = ()
    additional: tuple[tuple[Question, tuple[Record, ...]], ...] = ()
    cnames: tuple[CnameRecord, ...] = field(default=(), compare=False)
    negative_ttl: int | None = field(default=None, compare=False)
    security: Security = field(default=Security.INDETERMINATE, compare=False)
    security_reason: str = field(default="", compare=False)
    signed_until: float | None = field(default=None, compare=False)
    attempts: tuple[Attempt, ...] = field(default=(), compare=False)
    final: int = field(default=-1, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def attempt(self) -> Attempt | None:
        """The query that brought the answer; None for an answer that was not asked for."""
        return self.attempts[self.final] if self.attempts else None

    @property
    def ttl(self) -> int:
        """For how many seconds the whole may be kept: the least that any part of it allows."""
        own = [one.ttl for one in self.records] or [self.negative_ttl or 0]
        return min(own + [one.ttl for one in self.cnames])

    def at_most(self, seconds: int) -> "Answer":
        """The same answer, no part of which may be kept for longer than ``seconds``."""
        return replace(
            self,
            records=tuple(replace(one, ttl=min(one.ttl, seconds)) for one in self.records),
            cnames=tuple(replace(one, ttl=min(one.ttl, seconds)) for one in self.cnames),
            negative_ttl=None if self.negative_ttl is None else min(self.negative_ttl, seconds),
        )


@dataclass(frozen=True, slots=True)
class Unanswered(Failure):
    """Why a question has no answer, with the queries that were sent.

    ``security`` is BOGUS when there is an answer that DNSSEC says is not to be believed;
    ``withheld`` is that answer where it was validated here.
    """

    attempts: tuple[Attempt, ...] = field(default=(), compare=False)
    seconds: float = field(default=0.0, compare=False)
    security: Security = field(default=Security.INDETERMINATE, compare=False)
    withheld: Answer | None = field(default=None, compare=False)
