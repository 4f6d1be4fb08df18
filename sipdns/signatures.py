"""Whether signatures hold (RFC 4035 §5.3), and what follows where one does not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import dns.dnssec
import dns.exception
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.RRSIG
import dns.rrset

from sipdns.records import Security

__all__ = [
    "Doubt",
    "Judgement",
    "SignatureChecks",
    "find_set",
    "label_count",
    "may_sign",
    "set_text",
    "signatures_of",
    "type_text",
]

MOST_CHECKS: Final = 64
"""Signatures checked for one answer.  Keys and signatures that only seem to belong together could
be made to cost each other's number (CVE-2023-50387); honest answers need under 20."""

MOST_SAME_TAG: Final = 2
"""Keys of one tag that are tried: two by chance, more by design (CVE-2023-50387)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What DNSSEC says, and why, in one line.

    ``expires`` is the Unix time at which the first of the signatures ends, and ``ttl`` the most
    seconds for which the answer may be kept, whatever the TTLs in it say (RFC 4035 §5.3.3).
    """

    security: Security
    reason: str
    expires: float | None = None
    ttl: int | None = None


class Doubt(Exception):
    """The judgement is found, and it is not "secure"."""

    def __init__(self, security: Security, reason: str) -> None:
        super().__init__(reason)
        self.judgement = Judgement(security, reason)


class SignatureChecks:
    """The signatures of one answer, as they are checked; ``now`` is kept by who uses this.

    ``unix_offset`` added to ``now`` gives Unix time.  ``expires``, in Unix time, is when the first
    of the signatures that held ends; None when there was none.
    """

    def __init__(self, now: float, unix_offset: float) -> None:
        self.now = now
        self.expires: float | None = None
        self._offset = unix_offset
        self._checks = 0

    def seconds_left(self) -> int | None:
        """Until the first of the signatures ends."""
        return None if self.expires is None else int(self.expires - self.now - self._offset)

    def fault(
        self,
        rrset: dns.rrset.RRset,
        signature: dns.rdtypes.ANY.RRSIG.RRSIG,
        keys: Sequence[dns.rdtypes.ANY.DNSKEY.DNSKEY],
    ) -> str | None:
        """Why a signature does not hold; None when it does (RFC 4035 §5.3)."""
        unix = self.now + self._offset
        when = f"signature of key {signature.key_tag}"
        if signature.expiration < unix:
            return f"the {when} expired {_ago(unix - signature.expiration)} ago"
        if signature.inception > unix:
            return f"the {when} begins to hold in {_ago(signature.inception - unix)}"
        if signature.labels > label_count(rrset.name):
            return f"the {when} is for a longer name"
        fitting = [
            key
            for key in keys
            if key.algorithm == signature.algorithm and dns.dnssec.key_id(key) == signature.key_tag
        ]
        if not fitting:
            return f"the {when} belongs to no key of {signature.signer}"
        for key in fitting[:MOST_SAME_TAG]:
            self._checks += 1
            if self._checks > MOST_CHECKS:
                raise Doubt(Security.BOGUS, f"more than {MOST_CHECKS} signatures to check")
            keyset = dns.rdataset.from_rdata(0, key)
            try:
                dns.dnssec.validate_rrsig(rrset, signature, {signature.signer: keyset}, now=unix)
            except (dns.exception.DNSException, ValueError):
                continue
            if self.expires is None or signature.expiration < self.expires:
                self.expires = float(signature.expiration)
            return None
        return f"the {when} is wrong"

    def require(
        self,
        rrset: dns.rrset.RRset,
        section: Iterable[dns.rrset.RRset],
        signer: dns.name.Name,
        keys: Sequence[dns.rdtypes.ANY.DNSKEY.DNSKEY],
    ) -> None:
        """Doubt unless one of ``signer`` holds, and none comes from a wildcard."""
        faults = ["no signature"]
        for signature in signatures_of(section, rrset):
            if signature.signer == signer and signature.labels == label_count(rrset.name):
                fault = self.fault(rrset, signature, keys)
                if fault is None:
                    return
                faults.insert(0, fault)
        raise Doubt(Security.BOGUS, f"{set_text(rrset)}: {faults[0]}")


def find_set(
    section: Iterable[dns.rrset.RRset], name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    """The set of that type and name in a section of a message."""
    for rrset in section:
        if rrset.rdtype == kind and rrset.name == name and rrset.rdclass == dns.rdataclass.IN:
            return rrset
    return None


def signatures_of(
    section: Iterable[dns.rrset.RRset], rrset: dns.rrset.RRset
) -> list[dns.rdtypes.ANY.RRSIG.RRSIG]:
    """The signatures of a set that stand in its section."""
    for other in section:
        if (other.name, other.rdtype, other.covers) == (
            rrset.name,
            dns.rdatatype.RRSIG,
            rrset.rdtype,
        ):
            return [one for one in other if isinstance(one, dns.rdtypes.ANY.RRSIG.RRSIG)]
    return []


def may_sign(signer: dns.name.Name, rrset: dns.rrset.RRset) -> bool:
    """RFC 4035 §5.3.1: a zone signs what it holds; DS is its parent's."""
    if rrset.rdtype == dns.rdatatype.DS and signer == rrset.name:
        return False
    return rrset.name.is_subdomain(signer)


def label_count(name: dns.name.Name) -> int:
    """As the Labels field counts: neither the root nor a wildcard (RFC 4034 §3.1.3)."""
    return len(name) - 1 - (name.labels[0] == b"*")


def set_text(rrset: dns.rrset.RRset) -> str:
    """A set by its name and type."""
    return f"{rrset.name} {type_text(rrset.rdtype)}"


def type_text(kind: dns.rdatatype.RdataType) -> str:
    """A type as zone files have it."""
    return dns.rdatatype.to_text(kind)


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
