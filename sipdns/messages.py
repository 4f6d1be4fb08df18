"""DNS messages to and from records, by dnspython; no I/O.

Whatever a nameserver sends raises nothing but MalformedMessage.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV
import dns.rrset

from natkit.errors import MalformedMessage
from sipdns.records import (
    AddressRecord,
    Answer,
    NaptrRecord,
    Question,
    Record,
    RecordType,
    SrvRecord,
    Status,
)

__all__ = ["EDNS_PAYLOAD", "Alias", "Refusal", "Truncated", "make_query", "matches", "read_answer"]

EDNS_PAYLOAD: Final = 1232
"""The largest answer asked for over UDP, in bytes: it fits any path unfragmented (RFC 9715)."""

LONGEST_ALIAS_CHAIN: Final = 8
"""CNAMEs followed one after another; real chains have two or three (BIND stops at 11)."""


_TRUNCATED: Final = 0x02
"""The TC bit, in the third byte of the header (RFC 1035 §4.1.1)."""

_RESPONSE_TO_QUERY: Final = 0x80
"""The QR bit, and opcode QUERY (RFC 1035 §4.1.1)."""


@dataclass(frozen=True, slots=True)
class Alias:
    """The answer ends in a CNAME whose target is still to be asked for."""

    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Truncated:
    """The answer did not fit: ask over TCP (RFC 7766 §5)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """This server does not answer the question.

    ``without_edns`` says that it may be EDNS that it does not understand (RFC 6891 §7).
    """

    reason: str
    without_edns: bool = False


def make_query(question: Question, message_id: int, *, edns: bool = True) -> bytes:
    """A recursive query; MalformedMessage when the name is too long for the DNS."""
    try:
        query = dns.message.make_query(
            dns.name.from_text(question.name),
            question.type.value,
            use_edns=0 if edns else False,
            payload=EDNS_PAYLOAD,
            id=message_id,
        )
        return query.to_wire()
    except dns.exception.DNSException as error:
        raise MalformedMessage(f"{question.name} is no domain name: {error}") from error


def matches(query: bytes, data: bytes) -> bool:
    """Whether ``data`` answers ``query``: id, response bit and question (RFC 5452 §9.1).

    Its source was checked before: the socket is connected to the nameserver.
    """
    if len(data) < 12 or data[:2] != query[:2] or data[2] & 0xF8 != _RESPONSE_TO_QUERY:
        return False
    end = _question_end(query)
    if data[4:6] == b"\0\0":
        # A server that cannot read the query sends the header alone.
        return data[3] & 0x0F == dns.rcode.FORMERR
    return data[4:6] == b"\0\x01" and data[12:end].lower() == query[12:end].lower()


def _question_end(query: bytes) -> int:
    end = 12
    while query[end]:
        end += 1 + query[end]
    return end + 5


def read_answer(data: bytes, question: Question) -> Answer | Alias | Truncated | Refusal:
    """What a response says of ``question``; MalformedMessage when it cannot be read."""
    # Some cut the message off within a record, so the bit is read before the rest.
    if len(data) > 2 and data[2] & _TRUNCATED:
        return Truncated()
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
        rcode = message.rcode()
    except (dns.exception.DNSException, ValueError) as error:
        raise MalformedMessage(f"the answer cannot be read: {error}") from error
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        too_new = rcode in (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)
        return Refusal(f"the nameserver says {dns.rcode.to_text(rcode)}", without_edns=too_new)
    return _read_sections(message, question)


def _read_sections(message: dns.message.Message, question: Question) -> Answer | Alias | Refusal:
    sets = {
        (rrset.name, rrset.rdtype): rrset
        for rrset in message.answer
        if rrset.rdclass == dns.rdataclass.IN
    }
    name = dns.name.from_text(question.name)
    wanted = dns.rdatatype.from_text(question.type.value)
    aliases: list[str] = []
    while (name, wanted) not in sets and (name, dns.rdatatype.CNAME) in sets:
        target = sets[name, dns.rdatatype.CNAME][0]
        if not isinstance(target, dns.rdtypes.ANY.CNAME.CNAME):
            break
        name = target.target
        aliases.append(_text(name))
        if len(aliases) > LONGEST_ALIAS_CHAIN or len(set(aliases)) < len(aliases):
            return Refusal("a chain of CNAMEs that loops or is too long")
    found = sets.get((name, wanted))
    if found is not None:
        records = tuple(_records(found))
        return Answer(Status.RECORDS, records, tuple(aliases), tuple(_additional(message, records)))
    # RFC 6604 §3: NXDOMAIN is about the last name of the chain.
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Answer(Status.NO_NAME, (), tuple(aliases))
    return _nothing(message, tuple(aliases))


def _nothing(message: dns.message.Message, aliases: tuple[str, ...]) -> Answer | Alias | Refusal:
    authority = {rrset.rdtype for rrset in message.authority}
    denied = dns.rdatatype.SOA in authority
    if aliases and not denied:
        return Alias(aliases)
    authoritative = message.flags & (dns.flags.AA | dns.flags.RA)
    if not denied and dns.rdatatype.NS in authority and not authoritative:
        return Refusal("the nameserver refers to others and does not resolve itself")
    return Answer(Status.NO_DATA, (), aliases)


def _records(rrset: dns.rrset.RRset) -> Iterator[Record]:
    ttl = rrset.ttl
    for rdata in rrset:
        match rdata:
            case dns.rdtypes.IN.A.A() | dns.rdtypes.IN.AAAA.AAAA():
                yield AddressRecord(str(ipaddress.ip_address(rdata.address)), ttl)
            case dns.rdtypes.IN.SRV.SRV():
                yield SrvRecord(rdata.priority, rdata.weight, rdata.port, _text(rdata.target), ttl)
            case dns.rdtypes.IN.NAPTR.NAPTR():
                yield NaptrRecord(
                    rdata.order,
                    rdata.preference,
                    _printable(rdata.flags),
                    _printable(rdata.service),
                    _printable(rdata.regexp),
                    _text(rdata.replacement),
                    ttl,
                )
            case _:
                pass


def _additional(
    message: dns.message.Message, records: tuple[Record, ...]
) -> Iterator[tuple[Question, tuple[Record, ...]]]:
    """Record sets of the names that the answer refers to; what else is sent along is ignored."""
    named = {one.target for one in records if isinstance(one, SrvRecord)}
    named |= {one.replacement for one in records if isinstance(one, NaptrRecord)}
    types = {dns.rdatatype.A: RecordType.A, dns.rdatatype.AAAA: RecordType.AAAA}
    types[dns.rdatatype.SRV] = RecordType.SRV
    for rrset in message.additional:
        name = _text(rrset.name)
        if name in named and rrset.rdtype in types and rrset.rdclass == dns.rdataclass.IN:
            yield Question(name, types[rrset.rdtype]), tuple(_records(rrset))


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _printable(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace")
