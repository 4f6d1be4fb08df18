"""What is asked of the DNS and what it answers, as data.

Names are text in one form: lower case, A-labels, no final dot; the root is ``"."``.  Characters
that need it are escaped as in a zone file, so every name that a peer sends has such a form.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

__all__ = [
    "AddressRecord",
    "Answer",
    "NaptrRecord",
    "Question",
    "Record",
    "RecordType",
    "SrvRecord",
    "Status",
]


class RecordType(StrEnum):
    """The record types that lead to a server."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"
    NAPTR = "NAPTR"


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


Record = AddressRecord | SrvRecord | NaptrRecord


class Status(Enum):
    """What the DNS says of a name and type."""

    RECORDS = "records"
    NO_DATA = "no such record"
    """The name exists, or may, without records of this type (RFC 2308 §2.2)."""
    NO_NAME = "no such name"
    """NXDOMAIN (RFC 2308 §2.1)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The DNS's answer to a Question; a question that got none has a Failure instead.

    ``aliases`` are the names that CNAMEs led through, the last being the records' owner.
    ``additional`` are complete record sets that came along (RFC 2782, RFC 3403 §4.1): good for the
    lookup that the answer belongs to, and for no other.
    """

    status: Status
    records: tuple[Record, ...] = ()
    aliases: tuple[str, ...] = ()
    additional: tuple[tuple[Question, tuple[Record, ...]], ...] = ()
