"""Messages of multicast DNS to and from values, by dnspython; no I/O (RFC 6762 §18)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from natkit.address import Address, Family
from natkit.errors import MalformedMessage
from natkit.ice.mdns.names import normalized
from natkit.ice.mdns.registry import (
    CLASS_ANY,
    CLASS_IN,
    HOST_TTL,
    LEGACY_TTL,
    LONGEST_MESSAGE,
    TOP_BIT,
    HeaderBits,
)

__all__ = ["HostRecord", "MdnsMessage", "MdnsQuestion", "answer", "legacy_answer", "parse", "query"]

MOST_RECORDS: Final = 128
"""Questions and records of a message that is read: a link's busiest devices send some fifty."""

_HEADER: Final = struct.Struct("!HHHHHH")
_TYPES: Final = {Family.IPV4: dns.rdatatype.A, Family.IPV6: dns.rdatatype.AAAA}
_FAMILIES: Final = {record_type: family for family, record_type in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class MdnsQuestion:
    """Somebody asks for the addresses of ``name`` in ``families``.

    ``wants_unicast``: the answer may go to the asker alone (§5.4).
    """

    name: str
    families: frozenset[Family]
    wants_unicast: bool


@dataclass(frozen=True, slots=True)
class HostRecord:
    """An address of a name, for ``ttl`` seconds; 0: no longer (§10.1)."""

    name: str
    host: str
    ttl: int


@dataclass(frozen=True, slots=True)
class MdnsMessage:
    """What concerns addresses in a message.

    ``records``: of a response its answers, of a query what the asker knows already (§7.1).
    """

    message_id: int
    is_response: bool
    questions: tuple[MdnsQuestion, ...]
    records: tuple[HostRecord, ...]


def parse(data: bytes) -> MdnsMessage:
    """Read a message; what is not about addresses is passed over.

    Raises MalformedMessage for what is no DNS message, has another opcode or an error (§18.3,
    §18.11), or is larger than anything that belongs here.
    """
    if not _HEADER.size <= len(data) <= LONGEST_MESSAGE:
        raise MalformedMessage(f"a message of {len(data)} bytes")
    message_id, flags, *counts = _HEADER.unpack_from(data)
    if flags & (HeaderBits.OPCODE | HeaderBits.RCODE):
        raise MalformedMessage("neither a query nor an answer")
    if sum(counts) > MOST_RECORDS:
        raise MalformedMessage(f"{sum(counts)} records; {MOST_RECORDS} are read")
    try:
        message = dns.message.from_wire(data, ignore_trailing=True, continue_on_error=True)
    except (dns.exception.DNSException, ValueError, struct.error) as error:
        raise MalformedMessage(f"no DNS message: {error}") from error
    for mistake in message.errors:
        # Names within NSEC and SRV records are compressed here (§18.14), which dnspython does not
        # read, since in unicast DNS they never are (RFC 3597 §4).
        if not isinstance(mistake.exception, dns.name.DecompressionForbidden):
            raise MalformedMessage(f"no DNS message: {mistake.exception}")
    questions = tuple(
        question for rrset in message.question if (question := _question(rrset)) is not None
    )
    records = tuple(
        record
        for rrset in (*message.answer, *message.additional)
        if rrset.rdtype in _FAMILIES
        for record in _records(rrset)
    )
    return MdnsMessage(message_id, bool(flags & HeaderBits.RESPONSE), questions, records)


def query(name: str, families: Iterable[Family] = Family) -> bytes:
    """A query for the addresses of ``name``, one question a family (§5.2)."""
    message = dns.message.QueryMessage(0)
    message.flags = dns.flags.Flag(0)
    message.question = _questions(name, families)
    return message.to_wire(max_size=LONGEST_MESSAGE)


def answer(name: str, host: str, families: frozenset[Family], *, ttl: int = HOST_TTL) -> bytes:
    """A response that says where ``name`` is, in those of ``families`` that ``host`` is of.

    For the others it says that there is no address (§6.1).
    """
    message = dns.message.QueryMessage(0)
    message.flags = dns.flags.Flag(HeaderBits.RESPONSE | HeaderBits.AUTHORITATIVE)
    unique = dns.rdataclass.RdataClass.make(CLASS_IN | TOP_BIT)
    message.answer = _answers(name, host, families, ttl, unique)
    return message.to_wire(max_size=LONGEST_MESSAGE)


def legacy_answer(message_id: int, name: str, host: str, families: frozenset[Family]) -> bytes:
    """The same for one who asked from another port: as a unicast server would say it (§6.7)."""
    message = dns.message.QueryMessage(message_id)
    message.flags = dns.flags.Flag(HeaderBits.RESPONSE | HeaderBits.AUTHORITATIVE)
    message.question = _questions(name, families)
    message.answer = _answers(name, host, families, LEGACY_TTL, dns.rdataclass.IN)
    return message.to_wire(max_size=LONGEST_MESSAGE)


def _questions(name: str, families: Iterable[Family]) -> list[dns.rrset.RRset]:
    owner = dns.name.from_text(name)
    return [dns.rrset.RRset(owner, dns.rdataclass.IN, _TYPES[family]) for family in families]


def _answers(
    name: str,
    host: str,
    families: frozenset[Family],
    ttl: int,
    record_class: dns.rdataclass.RdataClass,
) -> list[dns.rrset.RRset]:
    owner = dns.name.from_text(name)
    address = Address(host, 0)
    record_type = _TYPES[address.family]
    contents: dict[dns.rdatatype.RdataType, bytes] = {}
    if address.family in families:
        contents[record_type] = address.packed
    if families - {address.family}:
        # RFC 4034 §4.1.2: one window, and in it the bits of one type.
        bitmap = bytearray(record_type // 8 + 1)
        bitmap[-1] = 0x80 >> record_type % 8
        contents[dns.rdatatype.NSEC] = owner.to_digestable() + bytes([0, len(bitmap)]) + bitmap
    return [
        dns.rrset.from_rdata(
            owner, ttl, dns.rdata.from_wire(record_class, each, content, 0, len(content))
        )
        for each, content in contents.items()
    ]


def _question(rrset: dns.rrset.RRset) -> MdnsQuestion | None:
    if rrset.rdclass & ~TOP_BIT not in (CLASS_IN, CLASS_ANY):
        return None
    if rrset.rdtype == dns.rdatatype.ANY:
        families: Sequence[Family] = tuple(Family)
    elif rrset.rdtype in _FAMILIES:
        families = (_FAMILIES[rrset.rdtype],)
    else:
        return None
    return MdnsQuestion(_name(rrset), frozenset(families), bool(rrset.rdclass & TOP_BIT))


def _records(rrset: dns.rrset.RRset) -> list[HostRecord]:
    if rrset.rdclass & ~TOP_BIT != CLASS_IN:
        return []
    name = _name(rrset)
    size = 4 if rrset.rdtype == dns.rdatatype.A else 16
    # A record with the top bit in its class has a type that dnspython does not know.
    packed = [rdata.to_wire() for rdata in rrset]
    return [
        HostRecord(name, Address.from_packed(each, 0).host, rrset.ttl)
        for each in packed
        if each is not None and len(each) == size
    ]


def _name(rrset: dns.rrset.RRset) -> str:
    return normalized(rrset.name.to_text())
