"""DNS messages to and from records, by dnspython; no I/O.

Whatever a nameserver sends raises nothing but MalformedMessage.
"""

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV
import dns.rrset

from natkit.errors import MalformedMessage
from sipdns.message_size import check_size
from sipdns.records import (
    AddressRecord,
    Answer,
    CnameRecord,
    NaptrRecord,
    OtherRecord,
    Question,
    Record,
    RecordType,
    SrvRecord,
    Status,
)

__all__ = [
    "DEFAULT_ASKING",
    "EDNS_PAYLOAD",
    "LONGEST_ALIAS_CHAIN",
    "Alias",
    "Asking",
    "Header",
    "Refusal",
    "Truncated",
    "make_query",
    "matches",
    "read_answer",
    "read_header",
]

EDNS_PAYLOAD: Final = 1232
"""The largest answer asked for over UDP, in bytes: it fits any path unfragmented (RFC 9715)."""

LONGEST_ALIAS_CHAIN: Final = 8
"""CNAMEs followed one after another; real chains have two or three (BIND stops at 11)."""


LONGEST_REASON: Final = 200
"""Characters kept of the text that a server adds to an error."""

_OTHERS: Final = frozenset({"SOA", "DS", "DNSKEY"})

_BOGUS: Final = frozenset(range(6, 13))
"""DNSSEC Bogus and its kinds, from an expired signature to a missing denial (RFC 8914 §4.7)."""

_TRUNCATED: Final = 0x02
"""The TC bit, in the third byte of the header (RFC 1035 §4.1.1)."""

_HEADER: Final = struct.Struct("!HHHHHH")
_QUESTION_END: Final = struct.Struct("!HH")

# RFC 6891 §6.1.2: the root's name, type, largest answer, extended rcode and flags, no options.
_OPT: Final = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, EDNS_PAYLOAD, 0, 0)
_SIGNED_OPT: Final = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, EDNS_PAYLOAD, dns.flags.DO, 0)

_RESPONSE_TO_QUERY: Final = 0x80
"""The QR bit, and opcode QUERY (RFC 1035 §4.1.1)."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What a query asks for beside the records.

    ``recursive``: the server is a resolver; otherwise it is asked for what it knows itself.
    ``signed``: with the records that prove the answer, whatever the resolver thinks of it (DO and
    CD, RFC 4035 §3.2).  Without it the resolver's own judgement is asked for (AD, RFC 6840 §5.7).
    """

    recursive: bool = True
    signed: bool = False


DEFAULT_ASKING: Final = Asking()


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an answer say (RFC 1035 §4.1.1, RFC 4035 §3.2.3)."""

    rcode: str
    authenticated: bool
    authoritative: bool
    recursion_available: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class Alias:
    """The answer ends in a CNAME whose target is still to be asked for."""

    cnames: tuple[CnameRecord, ...]

    @property
    def aliases(self) -> tuple[str, ...]:
        """The names that it leads through."""
        return tuple(one.target for one in self.cnames)


@dataclass(frozen=True, slots=True)
class Truncated:
    """The answer did not fit: ask over TCP (RFC 7766 §5)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """This server does not answer the question.

    ``without_edns`` says that it may be EDNS that it does not understand (RFC 6891 §7), ``bogus``
    that it holds the records' signatures for wrong (RFC 8914 §4.7 to §4.13).
    """

    reason: str
    without_edns: bool = False
    rcode: str | None = None
    bogus: bool = False


def make_query(
    question: Question, message_id: int, *, edns: bool = True, asking: Asking = DEFAULT_ASKING
) -> bytes:
    """A query; MalformedMessage when the name is too long for the DNS."""
    try:
        name = dns.name.from_text(question.name).to_digestable()
    except dns.exception.DNSException as error:
        raise MalformedMessage(f"{question.name} is no domain name: {error}") from error
    flags = dns.flags.CD if asking.signed else dns.flags.AD
    if asking.recursive:
        flags |= dns.flags.RD
    # RFC 1035 §4.1 by hand: dnspython takes five times as long, and each lookup asks ten times.
    type_ = dns.rdatatype.from_text(question.type.value)
    header = _HEADER.pack(message_id, flags, 1, 0, 0, 1 if edns else 0)
    asked = name + _QUESTION_END.pack(type_, dns.rdataclass.IN)
    return header + asked + (_SIGNED_OPT if asking.signed else _OPT) if edns else header + asked


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


def read_header(data: bytes) -> Header:
    """The header of a message that :func:`matches` a query."""
    flags = int.from_bytes(data[2:4], "big")
    return Header(
        dns.rcode.to_text(dns.rcode.Rcode(flags & 0x0F)),
        bool(flags & dns.flags.AD),
        bool(flags & dns.flags.AA),
        bool(flags & dns.flags.RA),
        bool(flags & dns.flags.TC),
    )


def read_answer(
    data: bytes, question: Question, asking: Asking = DEFAULT_ASKING
) -> Answer | Alias | Truncated | Refusal:
    """What a response says of ``question``; MalformedMessage when it cannot be read."""
    # Some cut the message off within a record, so the bit is read before the rest.
    if len(data) > 2 and data[2] & _TRUNCATED:
        return Truncated()
    check_size(data)
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
        rcode = message.rcode()
    except (dns.exception.DNSException, ValueError) as error:
        raise MalformedMessage(f"the answer cannot be read: {error}") from error
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return _refusal(message, rcode)
    return _read_sections(message, question, asking)


def _refusal(message: dns.message.Message, rcode: dns.rcode.Rcode) -> Refusal:
    """RFC 8914: a server may add why."""
    name = dns.rcode.to_text(rcode)
    errors = [one for one in message.options if isinstance(one, dns.edns.EDEOption)]
    why = "".join(f" ({_describe(one)})" for one in errors[:1])
    return Refusal(
        f"the nameserver says {name}{why}",
        without_edns=rcode in (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS),
        rcode=name,
        bogus=any(one.code in _BOGUS for one in errors),
    )


def _describe(error: dns.edns.EDEOption) -> str:
    try:
        meaning = dns.edns.EDECode(error.code).name.lower().replace("_", " ")
    except ValueError:
        meaning = f"extended error {int(error.code)}"
    text = "".join(char for char in (error.text or "")[:LONGEST_REASON] if char.isprintable())
    return f"{meaning}: {text}" if text else meaning


def _read_sections(
    message: dns.message.Message, question: Question, asking: Asking
) -> Answer | Alias | Refusal:
    sets = {
        (rrset.name, rrset.rdtype): rrset
        for rrset in message.answer
        if rrset.rdclass == dns.rdataclass.IN
    }
    name = dns.name.from_text(question.name)
    wanted = dns.rdatatype.from_text(question.type.value)
    cnames: list[CnameRecord] = []
    while (name, wanted) not in sets and (name, dns.rdatatype.CNAME) in sets:
        rrset = sets[name, dns.rdatatype.CNAME]
        target = rrset[0]
        if not isinstance(target, dns.rdtypes.ANY.CNAME.CNAME):
            break
        cnames.append(CnameRecord(_text(name), _text(target.target), rrset.ttl))
        name = target.target
        followed = {one.target for one in cnames}
        if len(cnames) > LONGEST_ALIAS_CHAIN or len(followed) < len(cnames):
            return Refusal("a chain of CNAMEs that loops or is too long")
    found = sets.get((name, wanted))
    if found is not None:
        records = tuple(_records(found))
        return _answer(Status.RECORDS, cnames, message, records)
    # RFC 6604 §3: NXDOMAIN is about the last name of the chain.
    if message.rcode() == dns.rcode.NXDOMAIN:
        return _answer(Status.NO_NAME, cnames, message)
    return _nothing(message, cnames, asking)


def _answer(
    status: Status,
    cnames: list[CnameRecord],
    message: dns.message.Message,
    records: tuple[Record, ...] = (),
) -> Answer:
    return Answer(
        status,
        records,
        tuple(one.target for one in cnames),
        tuple(_additional(message, records)) if records else (),
        tuple(cnames),
        None if records else _negative_ttl(message),
    )


def _negative_ttl(message: dns.message.Message) -> int | None:
    """RFC 2308 §5: the lesser of the SOA's own TTL and its last field."""
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA and rrset.rdclass == dns.rdataclass.IN:
            soa = rrset[0]
            if isinstance(soa, dns.rdtypes.ANY.SOA.SOA):
                return int(min(rrset.ttl, soa.minimum))
    return None


def _nothing(
    message: dns.message.Message, cnames: list[CnameRecord], asking: Asking
) -> Answer | Alias | Refusal:
    authority = {rrset.rdtype: rrset for rrset in message.authority}
    denied = dns.rdatatype.SOA in authority
    if cnames and not denied:
        return Alias(tuple(cnames))
    authoritative = message.flags & (dns.flags.AA | dns.flags.RA)
    if not denied and dns.rdatatype.NS in authority:
        if not asking.recursive and not message.flags & dns.flags.AA:
            servers = tuple(_records(authority[dns.rdatatype.NS]))
            return _answer(Status.REFERRAL, cnames, message, servers)
        if not authoritative:
            return Refusal("the nameserver refers to others and does not resolve itself")
    return _answer(Status.NO_DATA, cnames, message)


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
            case dns.rdtypes.ANY.CNAME.CNAME() | dns.rdtypes.ANY.NS.NS():
                yield OtherRecord(_type(rrset), _text(rdata.target), ttl)
            case _:
                if dns.rdatatype.to_text(rrset.rdtype) in _OTHERS:
                    yield OtherRecord(_type(rrset), str(rdata), ttl)


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


def _type(rrset: dns.rrset.RRset) -> RecordType:
    return RecordType(dns.rdatatype.to_text(rrset.rdtype))


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _printable(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace")
