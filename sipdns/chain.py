"""The chain of zones from a trust anchor downwards (RFC 4035 §5.2).

At each name a DS leads to the keys of a zone of its own, a proof that there is none makes all below
insecure, and a name that is no zone cut is passed.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import dns.dnssec
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS

from sipdns.denial import Denial, NsecCollection, NsecProof, NsecSet, denials_of
from sipdns.records import Question, RecordType, Security
from sipdns.signatures import Doubt, SignatureChecks, find_set, signatures_of
from sipdns.trust_anchors import Anchor, Anchors

__all__ = ["MOST_ZONES", "Asking", "Chain", "ChainCache", "Zone"]

MOST_ZONES: Final = 1000
"""Zones of which a ChainCache keeps the keys, the oldest going first: some megabytes at most."""

LONGEST_KEPT: Final = 3600
"""Seconds for which a zone's keys are kept at most, so that a roll-over is soon noticed."""

ALGORITHMS: Final = frozenset({8, 10, 13, 14, 15, 16})
DIGESTS: Final = frozenset({2, 4})
"""What RFC 9904 has validators do, SHA-1 not among them: a zone with others alone is insecure."""

_SEP_ZONE: Final = 0x0100
_REVOKED: Final = 0x0080

T = TypeVar("T")

Asking = Generator[Question, dns.message.Message, T]
"""A step that may have to ask the DNS."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone on the chain; ``keys`` only where it is secure."""

    name: dns.name.Name
    security: Security
    reason: str
    keys: tuple[dns.rdtypes.ANY.DNSKEY.DNSKEY, ...] = ()


@dataclass(frozen=True, slots=True)
class _NoCut:
    """The name belongs to the zone above it."""


_Cut = Zone | _NoCut


@dataclass(eq=False, slots=True)
class ChainCache:
    """What was found out about zones, for the validations that follow; times as ``now``."""

    _known: dict[dns.name.Name, tuple[_Cut, float]] = field(default_factory=dict)

    def get(self, name: dns.name.Name, now: float) -> _Cut | None:
        """What is known of a name that may be a zone."""
        found = self._known.get(name)
        return found[0] if found is not None and now < found[1] else None

    def put(self, name: dns.name.Name, cut: _Cut, until: float) -> None:
        """Remember it."""
        self._known.pop(name, None)
        while len(self._known) >= MOST_ZONES:
            del self._known[next(iter(self._known))]
        self._known[name] = (cut, until)

    def __len__(self) -> int:
        return len(self._known)


class Chain:
    """Finds the zone of a name, with what ``cache`` has and what it asks the DNS for."""

    def __init__(self, anchors: Anchors, cache: ChainCache, checks: SignatureChecks) -> None:
        self._anchors = anchors
        self._cache = cache
        self._checks = checks

    def descend(self, name: dns.name.Name) -> Asking[Zone]:
        """The zone that ``name`` belongs to, or the one above it where the chain ends."""
        start = max((one for one in self._anchors if name.is_subdomain(one)), key=len, default=None)
        if start is None:
            raise Doubt(Security.INDETERMINATE, f"no trust anchor is above {name}")
        zone = yield from self._anchored(start)
        for count in range(len(start) + 1, len(name) + 1):
            if zone.security is not Security.SECURE:
                break
            cut = yield from self._cut(name.split(count)[1], zone)
            if isinstance(cut, Zone):
                zone = cut
        return zone

    def _anchored(self, name: dns.name.Name) -> Asking[Zone]:
        found = self._cache.get(name, self._checks.now)
        if not isinstance(found, Zone):
            found = yield from self._keyed(name, self._anchors[name], "the trust anchor")
        return found

    def _cut(self, name: dns.name.Name, above: Zone) -> Asking[_Cut]:
        """What the zone above says of ``name``: a zone of its own, signed or not, or none."""
        found = self._cache.get(name, self._checks.now)
        if found is not None:
            return found
        message = yield Question(_name_text(name), RecordType.DS)
        self._refuse_rcode(message, f"{name} DS")
        rrset = find_set(message.answer, name, dns.rdatatype.DS)
        if rrset is not None:
            self._checks.require(rrset, message.answer, above.name, above.keys)
            anchors = [one for one in rrset if isinstance(one, dns.rdtypes.ANY.DS.DS)]
            return (yield from self._keyed(name, anchors, f"the DS at {above.name}"))
        alias = find_set(message.answer, name, dns.rdatatype.CNAME)
        if alias is not None:
            # Where a CNAME is there is no zone cut.
            self._checks.require(alias, message.answer, above.name, above.keys)
            return self._remember(name, _NoCut(), alias.ttl)
        cut = self._without_ds(name, above, message)
        ttl = min((one.ttl for one in message.authority), default=0)
        return self._remember(name, cut, ttl)

    def _without_ds(self, name: dns.name.Name, above: Zone, message: dns.message.Message) -> _Cut:
        proofs = NsecProof(self._signed_denials(above, message))
        if message.rcode() == dns.rcode.NXDOMAIN:
            proof = proofs.no_name(name)
        else:
            proof = proofs.no_data(name, dns.rdatatype.DS)
        match proof.denial:
            case Denial.PROVED:
                return _NoCut()
            case Denial.DELEGATION | Denial.INSECURE:
                reason = f"{above.name} proves that {name} is not signed ({proof.reason})"
                return Zone(name, Security.INSECURE, reason)
            case Denial.MISSING:
                reason = f"it is not proved that {name} has no DS: {proof.reason}"
                raise Doubt(Security.BOGUS, reason)

    def _signed_denials(self, zone: Zone, message: dns.message.Message) -> NsecSet:
        collected = NsecCollection()
        for rrset in denials_of(message):
            self._checks.require(rrset, message.authority, zone.name, zone.keys)
            collected.add(rrset)
        return collected.of(zone.name)

    def _keyed(self, name: dns.name.Name, anchors: Sequence[Anchor], source: str) -> Asking[Zone]:
        """The zone whose DNSKEY set one of ``anchors`` vouches for (RFC 4035 §5.2)."""
        usable = _usable(anchors)
        if not usable:
            reason = f"{name} is signed by algorithms alone that are not supported"
            return Zone(name, Security.INSECURE, reason)
        message = yield Question(_name_text(name), RecordType.DNSKEY)
        self._refuse_rcode(message, f"{name} DNSKEY")
        rrset = find_set(message.answer, name, dns.rdatatype.DNSKEY)
        if rrset is None:
            raise Doubt(Security.BOGUS, f"{name} has no DNSKEY, though {source} says so")
        if not signatures_of(message.answer, rrset):
            # A resolver that knows no DNSSEC leaves them all out; a zone cannot.
            missing = f"{name} DNSKEY came without signatures: the resolver may not pass them on"
            is_top = source == "the trust anchor"
            raise Doubt(Security.INDETERMINATE if is_top else Security.BOGUS, missing)
        keys = tuple(
            one
            for one in rrset
            if isinstance(one, dns.rdtypes.ANY.DNSKEY.DNSKEY)
            and one.flags & _SEP_ZONE
            and not one.flags & _REVOKED
            and one.protocol == 3
        )
        entry = [key for key in keys if any(_vouches(one, name, key) for one in usable)]
        if not entry:
            raise Doubt(Security.BOGUS, f"no key of {name} is the one that {source} names")
        faults = []
        for signature in signatures_of(message.answer, rrset):
            if signature.signer == name:
                fault = self._checks.fault(rrset, signature, entry)
                if fault is None:
                    zone = Zone(name, Security.SECURE, "", keys)
                    self._remember(name, zone, min(rrset.ttl, signature.original_ttl))
                    return zone
                faults.append(fault)
        # The likeliest cause first: of a key that DS names, not of those it need not name.
        faults.sort(key=lambda one: "belongs to no key" in one)
        raise Doubt(Security.BOGUS, f"{name} DNSKEY: {(faults or ['not signed by itself'])[0]}")

    def _refuse_rcode(self, message: dns.message.Message, what: str) -> None:
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            rcode = dns.rcode.to_text(message.rcode())
            raise Doubt(Security.INDETERMINATE, f"the resolver says {rcode} to {what}")

    def _remember(self, name: dns.name.Name, cut: _Cut, ttl: int) -> _Cut:
        left = self._checks.seconds_left()
        kept = min(ttl, LONGEST_KEPT, *(() if left is None else (left,)))
        self._cache.put(name, cut, self._checks.now + kept)
        return cut


def _usable(anchors: Sequence[Anchor]) -> list[Anchor]:
    return [
        one
        for one in anchors
        if one.algorithm in ALGORITHMS
        and (not isinstance(one, dns.rdtypes.ANY.DS.DS) or one.digest_type in DIGESTS)
    ]


def _vouches(anchor: Anchor, name: dns.name.Name, key: dns.rdtypes.ANY.DNSKEY.DNSKEY) -> bool:
    if isinstance(anchor, dns.rdtypes.ANY.DNSKEY.DNSKEY):
        return (anchor.algorithm, anchor.key) == (key.algorithm, key.key)
    if (anchor.key_tag, anchor.algorithm) != (dns.dnssec.key_id(key), key.algorithm):
        return False
    made = dns.dnssec.make_ds(name, key, anchor.digest_type, validating=True)
    return made.digest == anchor.digest


def _name_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
