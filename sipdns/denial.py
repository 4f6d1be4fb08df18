"""What NSEC and NSEC3 records prove (RFC 4035 §5.4, RFC 5155 §8), given that their signatures hold.

A record of the parent's side of a delegation says nothing of what lies below it (RFC 6840 §4.1).
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import dns.dnssec
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.NSEC
import dns.rdtypes.ANY.NSEC3
import dns.rrset

__all__ = [
    "DENIALS",
    "MOST_ITERATIONS",
    "Denial",
    "NsecCollection",
    "NsecProof",
    "NsecSet",
    "Proof",
    "denials_of",
    "no_closer_name",
]

DENIALS: Final = frozenset({dns.rdatatype.NSEC, dns.rdatatype.NSEC3})

MOST_ITERATIONS: Final = 100
"""Of NSEC3's hash; a zone with more counts as not signed (RFC 9276 §3.2)."""

MOST_HASHES: Final = 256
"""Names hashed for one proof: a name has at most 127 labels, each hashed twice."""

OPT_OUT: Final = 0x01
"""RFC 5155 §3.1.2.1."""

_NSEC3_SHA1: Final = 1


class Denial(Enum):
    """How far a proof goes."""

    PROVED = "proved"
    INSECURE = "insecure"
    """By opt-out or too many iterations, an unsigned delegation may be there (RFC 5155 §9.2)."""
    DELEGATION = "delegation"
    """The name is delegated, and it is proved that its zone is not signed."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Proof:
    """A denial and, in a few words, what it rests on or what is missing."""

    denial: Denial
    reason: str


@dataclass(frozen=True, slots=True)
class NsecSet:
    """The records of one zone whose signatures were checked, with their owners."""

    zone: dns.name.Name
    nsec: Sequence[tuple[dns.name.Name, dns.rdtypes.ANY.NSEC.NSEC]] = ()
    nsec3: Sequence[tuple[dns.name.Name, dns.rdtypes.ANY.NSEC3.NSEC3]] = ()


@dataclass(eq=False, slots=True)
class NsecCollection:
    """NSEC and NSEC3 records as they are collected from a message."""

    nsec: list[tuple[dns.name.Name, dns.rdtypes.ANY.NSEC.NSEC]] = field(default_factory=list)
    nsec3: list[tuple[dns.name.Name, dns.rdtypes.ANY.NSEC3.NSEC3]] = field(default_factory=list)

    def add(self, rrset: dns.rrset.RRset) -> None:
        """Take a set whose signature was checked."""
        for one in rrset:
            if isinstance(one, dns.rdtypes.ANY.NSEC.NSEC):
                self.nsec.append((rrset.name, one))
            elif isinstance(one, dns.rdtypes.ANY.NSEC3.NSEC3):
                self.nsec3.append((rrset.name, one))

    def of(self, zone: dns.name.Name) -> NsecSet:
        """What there is, all of it of that zone."""
        return NsecSet(zone, self.nsec, self.nsec3)


def denials_of(message: dns.message.Message) -> list[dns.rrset.RRset]:
    """The sets that deny, in the order of the message."""
    found = [one for one in message.authority if one.rdclass == dns.rdataclass.IN]
    return [one for one in found if one.rdtype in DENIALS]


class NsecProof:
    """Answers questions about names that a zone has not; each method gives a Proof."""

    def __init__(self, records: NsecSet) -> None:
        self._zone = records.zone
        self._nsec = records.nsec
        self._nsec3 = [
            (owner, one)
            for owner, one in records.nsec3
            if one.algorithm == _NSEC3_SHA1 and one.flags & ~OPT_OUT == 0
        ]
        self._hashes: dict[dns.name.Name, bytes] = {}
        self._costly = any(one.iterations > MOST_ITERATIONS for _, one in self._nsec3)

    def no_data(self, name: dns.name.Name, wanted: dns.rdatatype.RdataType) -> Proof:
        """That ``name`` has no such records."""
        if self._costly:
            return _too_many_iterations()
        if self._nsec3:
            return self._no_data_by_nsec3(name, wanted)
        for owner, one in self._nsec:
            if owner == name:
                return _absence(_types(one), wanted, "NSEC")
        if any(
            _covers(owner, one, self._zone, name)
            and one.next.is_subdomain(name)
            and one.next != name
            for owner, one in self._nsec
        ):
            return Proof(Denial.PROVED, "NSEC: the name has none but names below it")
        encloser = self._encloser_by_nsec(name)
        if encloser is not None:
            wildcard = _wildcard(encloser)
            for owner, one in self._nsec:
                if owner == wildcard:
                    return _absence(_types(one), wanted, "NSEC of a wildcard")
        return Proof(Denial.MISSING, f"no NSEC proves that there is no {_text(wanted)} record")

    def no_name(self, name: dns.name.Name) -> Proof:
        """That ``name`` does not exist, nor a wildcard that stands for it."""
        if self._costly:
            return _too_many_iterations()
        if self._nsec3:
            return self._no_name_by_nsec3(name)
        encloser = self._encloser_by_nsec(name)
        if encloser is None:
            return Proof(Denial.MISSING, "no NSEC proves that the name does not exist")
        wildcard = _wildcard(encloser)
        if any(_covers(owner, one, self._zone, wildcard) for owner, one in self._nsec):
            return Proof(Denial.PROVED, "NSEC")
        return Proof(Denial.MISSING, f"no NSEC proves that there is no wildcard {wildcard}")

    def no_closer(self, name: dns.name.Name, labels: int) -> Proof:
        """That the wildcard below the last ``labels`` labels is the nearest to ``name``.

        RFC 4035 §5.3.4, RFC 5155 §8.8.
        """
        if self._costly:
            return _too_many_iterations()
        closer = no_closer_name(name, labels)
        for owner, one in self._nsec:
            if _covers(owner, one, self._zone, closer) and not _is_above(owner, one, closer):
                return Proof(Denial.PROVED, "NSEC")
        covering = self._covering(closer)
        if covering is None:
            return Proof(Denial.MISSING, "it is not proved that no nearer name exists")
        if covering.flags & OPT_OUT:
            return _opt_out()
        return Proof(Denial.PROVED, "NSEC3")

    def _encloser_by_nsec(self, name: dns.name.Name) -> dns.name.Name | None:
        """The closest name above ``name`` that exists, if it is proved that ``name`` does not."""
        for owner, one in self._nsec:
            if _covers(owner, one, self._zone, name) and not _is_above(owner, one, name):
                if one.next.is_subdomain(name):
                    return None
                shared = [_shared(name, owner), _shared(name, one.next)]
                return max(shared, key=len)
        return None

    # -- NSEC3

    def _no_data_by_nsec3(self, name: dns.name.Name, wanted: dns.rdatatype.RdataType) -> Proof:
        matching = self._matching(name)
        if matching is not None:
            return _absence(_types(matching), wanted, "NSEC3")
        encloser, covering = self._encloser_by_nsec3(name)
        if encloser is None or covering is None:
            reason = f"no NSEC3 proves that there is no {_text(wanted)} record"
            return Proof(Denial.MISSING, reason)
        of_wildcard = self._matching(_wildcard(encloser))
        if of_wildcard is not None:
            proof = _absence(_types(of_wildcard), wanted, "NSEC3 of a wildcard")
            return _opt_out() if covering.flags & OPT_OUT else proof
        if covering.flags & OPT_OUT:
            # RFC 5155 §8.6: for DS, and RFC 6840 §5.2 by erratum for all: nothing is said.
            return _opt_out()
        return Proof(Denial.MISSING, "the NSEC3 records belong to a name that does not exist")

    def _no_name_by_nsec3(self, name: dns.name.Name) -> Proof:
        encloser, covering = self._encloser_by_nsec3(name)
        if encloser is None or covering is None:
            return Proof(Denial.MISSING, "no NSEC3 proves that the name does not exist")
        if self._covering(_wildcard(encloser)) is None:
            return Proof(Denial.MISSING, f"no NSEC3 proves that there is no *.{encloser}")
        return _opt_out() if covering.flags & OPT_OUT else Proof(Denial.PROVED, "NSEC3")

    def _encloser_by_nsec3(
        self, name: dns.name.Name
    ) -> tuple[dns.name.Name | None, dns.rdtypes.ANY.NSEC3.NSEC3 | None]:
        """The closest encloser, and the record that covers the next closer name (§8.3)."""
        closer = name
        while closer != self._zone and closer.is_subdomain(self._zone):
            above = closer.parent()
            matching = self._matching(above)
            if matching is not None:
                types = _types(matching)
                if _is_delegation(types) or dns.rdatatype.DNAME in types:
                    return None, None
                return above, self._covering(closer)
            closer = above
        return None, None

    def _matching(self, name: dns.name.Name) -> dns.rdtypes.ANY.NSEC3.NSEC3 | None:
        return self._find(name, lambda own, hashed, _: own == hashed)

    def _covering(self, name: dns.name.Name) -> dns.rdtypes.ANY.NSEC3.NSEC3 | None:
        def covers(own: bytes, hashed: bytes, following: bytes) -> bool:
            if own < following:
                return own < hashed < following
            return hashed > own or hashed < following

        return self._find(name, covers)

    def _find(
        self, name: dns.name.Name, holds: Callable[[bytes, bytes, bytes], bool]
    ) -> dns.rdtypes.ANY.NSEC3.NSEC3 | None:
        for owner, one in self._nsec3:
            hashed = self._hash(name, one)
            own = _owner_hash(owner, self._zone)
            if hashed is not None and own is not None and holds(own, hashed, one.next):
                return one
        return None

    def _hash(self, name: dns.name.Name, one: dns.rdtypes.ANY.NSEC3.NSEC3) -> bytes | None:
        """All records that count have the parameters of the first (RFC 5155 §8.2)."""
        first = self._nsec3[0][1]
        if (one.salt, one.iterations) != (first.salt, first.iterations):
            return None
        if name not in self._hashes:
            if len(self._hashes) >= MOST_HASHES:
                return None
            text = dns.dnssec.nsec3_hash(name, one.salt, one.iterations, one.algorithm)
            self._hashes[name] = base64.b32hexdecode(text)
        return self._hashes[name]


def no_closer_name(name: dns.name.Name, labels: int) -> dns.name.Name:
    """The part of ``name`` with one label more than ``labels``, the root's not counted."""
    return name.split(labels + 2)[1]


def _absence(types: frozenset[int], wanted: dns.rdatatype.RdataType, by: str) -> Proof:
    if wanted == dns.rdatatype.DS:
        if dns.rdatatype.SOA in types and dns.rdatatype.DS not in types:
            # The child's own apex: the parent has the word on DS.
            return Proof(Denial.MISSING, f"the {by} is the child's, who cannot speak of its own DS")
        if _is_delegation(types) and dns.rdatatype.DS not in types:
            return Proof(Denial.DELEGATION, f"{by}: a delegation without DS")
    elif _is_delegation(types):
        return Proof(Denial.MISSING, f"the {by} is the parent's, who knows nothing below")
    if wanted in types or dns.rdatatype.CNAME in types:
        return Proof(Denial.MISSING, f"the {by} says that there is such a record")
    return Proof(Denial.PROVED, by)


def _covers(
    owner: dns.name.Name,
    one: dns.rdtypes.ANY.NSEC.NSEC,
    zone: dns.name.Name,
    name: dns.name.Name,
) -> bool:
    """Whether ``name`` would stand between the record's owner and the next (RFC 4034 §6.1)."""
    if not name.is_subdomain(zone) or not one.next.is_subdomain(zone):
        return False
    if owner < one.next:
        return bool(owner < name < one.next)
    return bool(owner < name and one.next == zone)


def _is_above(owner: dns.name.Name, one: dns.rdtypes.ANY.NSEC.NSEC, name: dns.name.Name) -> bool:
    """Whether the owner hands ``name`` on to another zone or tree (RFC 6840 §4.1)."""
    types = _types(one)
    above = name.is_subdomain(owner) and name != owner
    return bool(above) and (_is_delegation(types) or dns.rdatatype.DNAME in types)


def _is_delegation(types: frozenset[int]) -> bool:
    return dns.rdatatype.NS in types and dns.rdatatype.SOA not in types


def _types(one: dns.rdtypes.ANY.NSEC.NSEC | dns.rdtypes.ANY.NSEC3.NSEC3) -> frozenset[int]:
    return frozenset(
        window * 256 + index * 8 + bit
        for window, bits in one.windows
        for index, byte in enumerate(bits)
        for bit in range(8)
        if byte & (0x80 >> bit)
    )


def _owner_hash(owner: dns.name.Name, zone: dns.name.Name) -> bytes | None:
    if owner.parent() != zone:
        return None
    try:
        return base64.b32hexdecode(owner.labels[0].upper())
    except ValueError:
        return None


def _shared(one: dns.name.Name, other: dns.name.Name) -> dns.name.Name:
    return one.split(one.fullcompare(other)[2])[1]


def _wildcard(encloser: dns.name.Name) -> dns.name.Name:
    return dns.name.Name((b"*", *encloser.labels))


def _opt_out() -> Proof:
    return Proof(Denial.INSECURE, "NSEC3 opt-out leaves room for an unsigned delegation")


def _too_many_iterations() -> Proof:
    return Proof(Denial.INSECURE, f"NSEC3 with more than {MOST_ITERATIONS} iterations (RFC 9276)")


def _text(wanted: dns.rdatatype.RdataType) -> str:
    return dns.rdatatype.to_text(wanted)
