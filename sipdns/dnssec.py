"""Checks answers by DNSSEC (RFC 4033 to 4035, 5155, 6840): a machine that asks for DS and DNSKEY.

The chain goes from a trust anchor downwards: at each name a DS leads to the keys of a zone of its
own, a proof that there is none makes all below insecure, and a name that is no zone cut is passed.
Nothing is insecure for want of signatures: without such a proof it is bogus.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import dns.dnssec
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.DNAME
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS
import dns.rdtypes.ANY.NSEC
import dns.rdtypes.ANY.NSEC3
import dns.rdtypes.ANY.RRSIG
import dns.rrset

from natkit.machine import Failure, Path, Request, RequestId, Transmit
from sipdns.denial import Denial, NsecProof, NsecSet, Proof
from sipdns.messages import LONGEST_ALIAS_CHAIN
from sipdns.records import Question, RecordType, Security
from sipdns.trust_anchors import Anchor, Anchors

__all__ = ["AskForKeys", "ChainCache", "Judged", "Judgement", "Validation"]

MOST_FETCHES: Final = 64
"""DS and DNSKEY questions for one answer: two for each label of a long name with CNAMEs."""

MOST_CHECKS: Final = 64
"""Signatures checked for one answer.  Keys and signatures that only seem to belong together could
be made to cost each other's number (CVE-2023-50387); honest answers need under 20."""

MOST_SAME_TAG: Final = 2
"""Keys of one tag that are tried: two by chance, more by design (CVE-2023-50387)."""

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


@dataclass(frozen=True, slots=True)
class AskForKeys(Request):
    """Ask the DNS, with signatures.  Result: the response's bytes, or Failure."""

    question: Question


@dataclass(frozen=True, slots=True)
class Judged:
    """The end."""

    judgement: Judgement


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone on the chain; ``keys`` only where it is secure."""

    name: dns.name.Name
    security: Security
    reason: str
    keys: tuple[dns.rdtypes.ANY.DNSKEY.DNSKEY, ...] = ()


@dataclass(frozen=True, slots=True)
class _NoCut:
    """The name belongs to the zone above it."""


_Cut = _Zone | _NoCut


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


class _Doubt(Exception):
    """The judgement is found, and it is not "secure"."""

    def __init__(self, security: Security, reason: str) -> None:
        super().__init__(reason)
        self.judgement = Judgement(security, reason)


Asking = Generator[Question, dns.message.Message, T]


class Validation:
    """Judges one answer, by the messages that it was read from (:class:`sipdns.query.Answered`).

    ``unix_offset`` added to ``now`` gives Unix time.
    """

    def __init__(
        self,
        messages: Sequence[tuple[Question, bytes]],
        *,
        anchors: Anchors,
        now: float,
        unix_offset: float,
        cache: ChainCache | None = None,
    ) -> None:
        self._anchors = anchors
        self._now = now
        self._offset = unix_offset
        self._cache = ChainCache() if cache is None else cache
        self._events: deque[AskForKeys | Judged] = deque()
        self._fetches = 0
        self._checks = 0
        self._expires: float | None = None
        self._original_ttl: int | None = None
        self._ended = False
        self._asking: Question | None = None
        self._steps = self._judge(messages)
        self._advance(None)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """No data arrives here: the shell answers with whole messages."""

    def disconnected(self, path: Path, now: float) -> None:
        """No stream is ours."""

    def transmits(self) -> Sequence[Transmit]:
        """Nothing: all is asked by Requests."""
        return ()

    def handle_timer(self, now: float) -> None:
        """No time is kept here: each question has its own limit, and their number is bounded."""

    def next_deadline(self) -> float | None:
        """None."""
        return None

    def next_event(self) -> AskForKeys | Judged | None:
        """Take the next event."""
        return self._events.popleft() if self._events else None

    def answer(self, request_id: RequestId, result: bytes | Failure, now: float) -> None:
        """The response to AskForKeys."""
        if self._ended or request_id != self._fetches or self._asking is None:
            return
        self._now = now
        if isinstance(result, Failure):
            reason = f"no answer for {self._asking}: {result.reason}"
            self._end(Judgement(Security.INDETERMINATE, reason))
            return
        try:
            message = dns.message.from_wire(result, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError) as error:
            reason = f"the answer for {self._asking} cannot be read: {error}"
            self._end(Judgement(Security.INDETERMINATE, reason))
            return
        self._advance(message)

    def _advance(self, message: dns.message.Message | None) -> None:
        try:
            question = next(self._steps) if message is None else self._steps.send(message)
        except StopIteration as stop:
            self._end(stop.value)
        except _Doubt as doubt:
            self._end(doubt.judgement)
        else:
            self._fetches += 1
            self._asking = question
            if self._fetches > MOST_FETCHES:
                reason = f"more than {MOST_FETCHES} questions for keys"
                self._end(Judgement(Security.INDETERMINATE, reason))
            else:
                self._events.append(AskForKeys(self._fetches, question))

    def _end(self, judgement: Judgement) -> None:
        self._ended = True
        self._events.append(Judged(judgement))

    # -- the answer

    def _judge(self, messages: Sequence[tuple[Question, bytes]]) -> Asking[Judgement]:
        reason = "there is no answer to judge"
        for question, data in messages:
            message = dns.message.from_wire(data, ignore_trailing=True)
            reason = yield from self._judge_message(question, message)
        security = Security.SECURE if messages else Security.INDETERMINATE
        return Judgement(security, reason, self._expires, self._ttl())

    def _ttl(self) -> int | None:
        if self._expires is None or self._original_ttl is None:
            return None
        return max(0, min(self._original_ttl, int(self._expires - self._now - self._offset)))

    def _judge_message(self, question: Question, message: dns.message.Message) -> Asking[str]:
        """Why the message is secure; _Doubt when it is not."""
        name = dns.name.from_text(question.name)
        wanted = dns.rdatatype.from_text(question.type.value)
        reason = ""
        for _ in range(LONGEST_ALIAS_CHAIN + 1):
            found = _find(message.answer, name, wanted)
            if found is not None:
                return (yield from self._check_set(found, message))
            alias = _find(message.answer, name, dns.rdatatype.CNAME)
            target = None if alias is None else alias[0]
            if alias is None or not isinstance(target, dns.rdtypes.ANY.CNAME.CNAME):
                break
            reason = yield from self._check_alias(alias, target, message)
            name = target.target
        denied = message.rcode() == dns.rcode.NXDOMAIN or _has_denial(message)
        if reason and not denied:
            return reason
        return (yield from self._check_denial(name, wanted, message))

    def _check_alias(
        self,
        alias: dns.rrset.RRset,
        target: dns.rdtypes.ANY.CNAME.CNAME,
        message: dns.message.Message,
    ) -> Asking[str]:
        """A CNAME of its own, or one made from a DNAME (RFC 6672 §5.3.1)."""
        if not _signatures(message.answer, alias):
            for rrset in message.answer:
                if rrset.rdtype != dns.rdatatype.DNAME or alias.name == rrset.name:
                    continue
                dname = rrset[0]
                if not isinstance(dname, dns.rdtypes.ANY.DNAME.DNAME):
                    continue
                if not alias.name.is_subdomain(rrset.name):
                    continue
                prefix = alias.name.relativize(rrset.name)
                try:
                    made = prefix.derelativize(dname.target)
                except dns.name.NameTooLong:
                    continue
                if made == target.target:
                    return (yield from self._check_set(rrset, message))
        return (yield from self._check_set(alias, message))

    def _check_set(self, rrset: dns.rrset.RRset, message: dns.message.Message) -> Asking[str]:
        signature = yield from self._check_signatures(rrset, message.answer)
        labels = _label_count(rrset.name)
        if signature.labels < labels:
            # RFC 4035 §5.3.4: made from a wildcard, so nothing nearer may exist.
            records = yield from self._denials(message, signature.signer)
            proof = NsecProof(records).no_closer(rrset.name, signature.labels)
            _require(proof, f"{_text(rrset)} comes from a wildcard")
        return f"{_text(rrset)} is signed by {signature.signer}"

    # -- signatures

    def _check_signatures(
        self, rrset: dns.rrset.RRset, section: Iterable[dns.rrset.RRset]
    ) -> Asking[dns.rdtypes.ANY.RRSIG.RRSIG]:
        """One that holds; _Doubt when none does or the zone is not secure."""
        signatures = [one for one in _signatures(section, rrset) if _may_sign(one.signer, rrset)]
        if not signatures:
            yield from self._require_unsigned(rrset.name, rrset.rdtype, _text(rrset))
        faults = []
        for signature in signatures:
            zone = yield from self._descend(signature.signer)
            if zone.security is not Security.SECURE:
                raise _Doubt(zone.security, zone.reason)
            if zone.name != signature.signer:
                faults.append(f"its signer {signature.signer} is no zone")
                continue
            fault = self._fault(rrset, signature, zone.keys)
            if fault is None:
                known = self._original_ttl
                signed = signature.original_ttl
                self._original_ttl = signed if known is None else min(known, signed)
                return signature
            faults.append(fault)
        raise _Doubt(Security.BOGUS, f"{_text(rrset)}: {faults[0]}")

    def _require_unsigned(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, what: str
    ) -> Asking[None]:
        """Raise what follows when there is no signature."""
        above = name.parent() if kind == dns.rdatatype.DS and name != dns.name.root else name
        zone = yield from self._descend(above)
        if zone.security is Security.SECURE:
            raise _Doubt(Security.BOGUS, f"{what}: no signature, though {zone.name} is signed")
        raise _Doubt(zone.security, zone.reason)

    def _fault(
        self,
        rrset: dns.rrset.RRset,
        signature: dns.rdtypes.ANY.RRSIG.RRSIG,
        keys: Sequence[dns.rdtypes.ANY.DNSKEY.DNSKEY],
    ) -> str | None:
        """Why a signature does not hold; None when it does (RFC 4035 §5.3)."""
        unix = self._now + self._offset
        when = f"signature of key {signature.key_tag}"
        if signature.expiration < unix:
            return f"the {when} expired {_ago(unix - signature.expiration)} ago"
        if signature.inception > unix:
            return f"the {when} begins to hold in {_ago(signature.inception - unix)}"
        if signature.labels > _label_count(rrset.name):
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
                raise _Doubt(Security.BOGUS, f"more than {MOST_CHECKS} signatures to check")
            keyset = dns.rdataset.from_rdata(0, key)
            try:
                dns.dnssec.validate_rrsig(rrset, signature, {signature.signer: keyset}, now=unix)
            except (dns.exception.DNSException, ValueError):
                continue
            if self._expires is None or signature.expiration < self._expires:
                self._expires = float(signature.expiration)
            return None
        return f"the {when} is wrong"

    # -- denial

    def _check_denial(
        self, name: dns.name.Name, wanted: dns.rdatatype.RdataType, message: dns.message.Message
    ) -> Asking[str]:
        no_name = message.rcode() == dns.rcode.NXDOMAIN
        what = f"that {name} does not exist" if no_name else f"that {name} has no {_kind(wanted)}"
        records = yield from self._denials(message, None)
        if not records.nsec and not records.nsec3:
            yield from self._require_unsigned(name, wanted, what)
        if not name.is_subdomain(records.zone):
            raise _Doubt(Security.BOGUS, f"{what}: the proof is of another zone, {records.zone}")
        proofs = NsecProof(records)
        proof = proofs.no_name(name) if no_name else proofs.no_data(name, wanted)
        if proof.denial is Denial.MISSING:
            # The zone that denies may lie above an insecure delegation.
            zone = yield from self._descend(_above(name, wanted))
            if zone.security is not Security.SECURE:
                raise _Doubt(zone.security, zone.reason)
        _require(proof, what)
        return f"{records.zone} proves {what} ({proof.reason})"

    def _denials(
        self, message: dns.message.Message, signer: dns.name.Name | None
    ) -> Asking[NsecSet]:
        """The NSEC and NSEC3 records whose signatures hold, all of one zone."""
        zone = signer
        collected = _Denials()
        for rrset in _denials_of(message):
            if not _signatures(message.authority, rrset):
                continue
            signature = yield from self._check_signatures(rrset, message.authority)
            # A denial made from a wildcard denies nothing.
            if signature.labels == _label_count(rrset.name):
                zone = zone or signature.signer
                if signature.signer == zone:
                    collected.add(rrset)
        return NsecSet(zone or dns.name.root, collected.nsec, collected.nsec3)

    # -- the chain

    def _descend(self, name: dns.name.Name) -> Asking[_Zone]:
        """The zone that ``name`` belongs to, or the one above it where the chain ends."""
        start = max((one for one in self._anchors if name.is_subdomain(one)), key=len, default=None)
        if start is None:
            raise _Doubt(Security.INDETERMINATE, f"no trust anchor is above {name}")
        zone = yield from self._anchored(start)
        for count in range(len(start) + 1, len(name) + 1):
            if zone.security is not Security.SECURE:
                break
            cut = yield from self._cut(name.split(count)[1], zone)
            if isinstance(cut, _Zone):
                zone = cut
        return zone

    def _anchored(self, name: dns.name.Name) -> Asking[_Zone]:
        found = self._cache.get(name, self._now)
        if not isinstance(found, _Zone):
            found = yield from self._keyed(name, self._anchors[name], "the trust anchor")
        return found

    def _cut(self, name: dns.name.Name, above: _Zone) -> Asking[_Cut]:
        """What the zone above says of ``name``: a zone of its own, signed or not, or none."""
        found = self._cache.get(name, self._now)
        if found is not None:
            return found
        message = yield Question(_name_text(name), RecordType.DS)
        self._refuse_rcode(message, f"{name} DS")
        rrset = _find(message.answer, name, dns.rdatatype.DS)
        if rrset is not None:
            self._require_signed_by(above, rrset, message.answer)
            anchors = [one for one in rrset if isinstance(one, dns.rdtypes.ANY.DS.DS)]
            return (yield from self._keyed(name, anchors, f"the DS at {above.name}"))
        alias = _find(message.answer, name, dns.rdatatype.CNAME)
        if alias is not None:
            # Where a CNAME is there is no zone cut.
            self._require_signed_by(above, alias, message.answer)
            return self._remember(name, _NoCut(), alias.ttl)
        cut = self._without_ds(name, above, message)
        ttl = min((one.ttl for one in message.authority), default=0)
        return self._remember(name, cut, ttl)

    def _without_ds(self, name: dns.name.Name, above: _Zone, message: dns.message.Message) -> _Cut:
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
                return _Zone(name, Security.INSECURE, reason)
            case Denial.MISSING:
                reason = f"it is not proved that {name} has no DS: {proof.reason}"
                raise _Doubt(Security.BOGUS, reason)

    def _signed_denials(self, zone: _Zone, message: dns.message.Message) -> NsecSet:
        collected = _Denials()
        for rrset in _denials_of(message):
            self._require_signed_by(zone, rrset, message.authority)
            collected.add(rrset)
        return NsecSet(zone.name, collected.nsec, collected.nsec3)

    def _keyed(self, name: dns.name.Name, anchors: Sequence[Anchor], source: str) -> Asking[_Zone]:
        """The zone whose DNSKEY set one of ``anchors`` vouches for (RFC 4035 §5.2)."""
        usable = _usable(anchors)
        if not usable:
            reason = f"{name} is signed by algorithms alone that are not supported"
            return _Zone(name, Security.INSECURE, reason)
        message = yield Question(_name_text(name), RecordType.DNSKEY)
        self._refuse_rcode(message, f"{name} DNSKEY")
        rrset = _find(message.answer, name, dns.rdatatype.DNSKEY)
        if rrset is None:
            raise _Doubt(Security.BOGUS, f"{name} has no DNSKEY, though {source} says so")
        if not _signatures(message.answer, rrset):
            # A resolver that knows no DNSSEC leaves them all out; a zone cannot.
            missing = f"{name} DNSKEY came without signatures: the resolver may not pass them on"
            is_top = source == "the trust anchor"
            raise _Doubt(Security.INDETERMINATE if is_top else Security.BOGUS, missing)
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
            raise _Doubt(Security.BOGUS, f"no key of {name} is the one that {source} names")
        faults = []
        for signature in _signatures(message.answer, rrset):
            if signature.signer == name:
                fault = self._fault(rrset, signature, entry)
                if fault is None:
                    zone = _Zone(name, Security.SECURE, "", keys)
                    self._remember(name, zone, min(rrset.ttl, signature.original_ttl))
                    return zone
                faults.append(fault)
        # The likeliest cause first: of a key that DS names, not of those it need not name.
        faults.sort(key=lambda one: "belongs to no key" in one)
        raise _Doubt(Security.BOGUS, f"{name} DNSKEY: {(faults or ['not signed by itself'])[0]}")

    def _require_signed_by(
        self, zone: _Zone, rrset: dns.rrset.RRset, section: Iterable[dns.rrset.RRset]
    ) -> None:
        faults = ["no signature"]
        for signature in _signatures(section, rrset):
            if signature.signer == zone.name and signature.labels == _label_count(rrset.name):
                fault = self._fault(rrset, signature, zone.keys)
                if fault is None:
                    return
                faults.insert(0, fault)
        raise _Doubt(Security.BOGUS, f"{_text(rrset)}: {faults[0]}")

    def _refuse_rcode(self, message: dns.message.Message, what: str) -> None:
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            rcode = dns.rcode.to_text(message.rcode())
            raise _Doubt(Security.INDETERMINATE, f"the resolver says {rcode} to {what}")

    def _remember(self, name: dns.name.Name, cut: _Cut, ttl: int) -> _Cut:
        kept = min(ttl, LONGEST_KEPT)
        if self._expires is not None:
            kept = min(kept, int(self._expires - self._now - self._offset))
        self._cache.put(name, cut, self._now + kept)
        return cut


_DENIALS: Final = frozenset({dns.rdatatype.NSEC, dns.rdatatype.NSEC3})


@dataclass(eq=False, slots=True)
class _Denials:
    """NSEC and NSEC3 records as they are collected from a message."""

    nsec: list[tuple[dns.name.Name, dns.rdtypes.ANY.NSEC.NSEC]] = field(default_factory=list)
    nsec3: list[tuple[dns.name.Name, dns.rdtypes.ANY.NSEC3.NSEC3]] = field(default_factory=list)

    def add(self, rrset: dns.rrset.RRset) -> None:
        for one in rrset:
            if isinstance(one, dns.rdtypes.ANY.NSEC.NSEC):
                self.nsec.append((rrset.name, one))
            elif isinstance(one, dns.rdtypes.ANY.NSEC3.NSEC3):
                self.nsec3.append((rrset.name, one))


def _denials_of(message: dns.message.Message) -> list[dns.rrset.RRset]:
    found = [one for one in message.authority if one.rdclass == dns.rdataclass.IN]
    return [one for one in found if one.rdtype in _DENIALS]


def _find(
    section: Iterable[dns.rrset.RRset], name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> dns.rrset.RRset | None:
    for rrset in section:
        if rrset.rdtype == kind and rrset.name == name and rrset.rdclass == dns.rdataclass.IN:
            return rrset
    return None


def _signatures(
    section: Iterable[dns.rrset.RRset], rrset: dns.rrset.RRset
) -> list[dns.rdtypes.ANY.RRSIG.RRSIG]:
    for other in section:
        if (other.name, other.rdtype, other.covers) == (
            rrset.name,
            dns.rdatatype.RRSIG,
            rrset.rdtype,
        ):
            return [one for one in other if isinstance(one, dns.rdtypes.ANY.RRSIG.RRSIG)]
    return []


def _may_sign(signer: dns.name.Name, rrset: dns.rrset.RRset) -> bool:
    """RFC 4035 §5.3.1: a zone signs what it holds; DS is its parent's."""
    if rrset.rdtype == dns.rdatatype.DS and signer == rrset.name:
        return False
    return rrset.name.is_subdomain(signer)


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


def _require(proof: Proof, what: str) -> None:
    match proof.denial:
        case Denial.PROVED:
            return
        case Denial.INSECURE | Denial.DELEGATION:
            raise _Doubt(Security.INSECURE, f"{what}: {proof.reason}")
        case Denial.MISSING:
            raise _Doubt(Security.BOGUS, f"{what}: {proof.reason}")


def _has_denial(message: dns.message.Message) -> bool:
    kinds = {dns.rdatatype.SOA, *_DENIALS}
    return any(rrset.rdtype in kinds for rrset in message.authority)


def _above(name: dns.name.Name, wanted: dns.rdatatype.RdataType) -> dns.name.Name:
    is_ds = wanted == dns.rdatatype.DS and name != dns.name.root
    return name.parent() if is_ds else name


def _label_count(name: dns.name.Name) -> int:
    """As the Labels field counts: neither the root nor a wildcard (RFC 4034 §3.1.3)."""
    return len(name) - 1 - (name.labels[0] == b"*")


def _text(rrset: dns.rrset.RRset) -> str:
    return f"{rrset.name} {_kind(rrset.rdtype)}"


def _kind(kind: dns.rdatatype.RdataType) -> str:
    return dns.rdatatype.to_text(kind)


def _name_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
