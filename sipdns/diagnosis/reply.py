"""One query to one server, and all that it replied: what the rules about servers look at.

A lookup wants records; these rules want the header, the sections and the signatures as well.
"""

from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from natkit.address import Address
from natkit.errors import MalformedMessage
from sipdns.messages import EDNS_PAYLOAD

__all__ = ["LARGEST_MESSAGE", "Inquiry", "RecordSet", "Reply", "make_inquiry", "read_reply"]

LARGEST_MESSAGE: Final = 65535


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A query for ``type``, any that dnspython knows, to ``server`` alone.

    ``recursive`` is what one asks of resolvers and not of authoritative servers.
    ``checking_disabled`` asks for data that does not validate as well (RFC 4035 §3.2.2).
    """

    name: str
    type: str
    server: Address
    over_tcp: bool = False
    recursive: bool = True
    checking_disabled: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.type} at {self.server}"


@dataclass(frozen=True, slots=True)
class RecordSet:
    """Records of one name and type; ``data`` in the form of zone files."""

    section: str
    name: str
    type: str
    ttl: int
    data: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server replied."""

    rcode: str
    authoritative: bool
    authenticated: bool
    truncated: bool
    size: int
    sets: tuple[RecordSet, ...]

    def find(self, name: str, type_: str, section: str = "answer") -> RecordSet | None:
        """The set of that name and type in that section."""
        wanted = (section, name, type_)
        return next((one for one in self.sets if (one.section, one.name, one.type) == wanted), None)

    def owner(self, type_: str) -> str | None:
        """The name that has the first set of that type, in the answer or the authority section."""
        return next((one.name for one in self.sets if one.type == type_), None)


def make_inquiry(inquiry: Inquiry, message_id: int) -> bytes:
    """The query, signatures wanted; MalformedMessage when the name is too long for the DNS."""
    flags = dns.flags.RD if inquiry.recursive else dns.flags.Flag(0)
    if inquiry.checking_disabled:
        flags |= dns.flags.CD
    try:
        query = dns.message.make_query(
            dns.name.from_text(inquiry.name),
            inquiry.type,
            use_edns=0,
            payload=EDNS_PAYLOAD,
            want_dnssec=True,
            id=message_id,
            flags=flags,
        )
        return query.to_wire()
    except dns.exception.DNSException as error:
        raise MalformedMessage(f"{inquiry.name} is no domain name: {error}") from error


def read_reply(data: bytes) -> Reply:
    """Read a response; MalformedMessage when it is none."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
        rcode = dns.rcode.to_text(message.rcode())
    except (dns.exception.DNSException, ValueError) as error:
        raise MalformedMessage(f"the answer cannot be read: {error}") from error
    sections = (("answer", message.answer), ("authority", message.authority))
    return Reply(
        rcode,
        bool(message.flags & dns.flags.AA),
        bool(message.flags & dns.flags.AD),
        bool(message.flags & dns.flags.TC),
        len(data),
        tuple(_record_set(section, one) for section, sets in sections for one in sets),
    )


def _record_set(section: str, rrset: dns.rrset.RRset) -> RecordSet:
    return RecordSet(
        section,
        rrset.name.to_text(omit_final_dot=True).lower(),
        dns.rdatatype.to_text(rrset.rdtype),
        rrset.ttl,
        tuple(sorted(one.to_text() for one in rrset)),
    )
