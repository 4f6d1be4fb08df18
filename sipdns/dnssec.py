"""Checks answers by DNSSEC (RFC 4033 to 4035, 5155, 6840): a machine that asks for DS and DNSKEY.

The zones that sign are found along the chain from a trust anchor (:mod:`sipdns.chain`).  Nothing is
insecure for want of signatures: without a proof of that it is bogus.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.DNAME
import dns.rdtypes.ANY.RRSIG
import dns.rrset

from natkit.machine import Failure, Path, Request, RequestId, Transmit
from sipdns.chain import Asking, Chain, ChainCache
from sipdns.denial import DENIALS, Denial, NsecCollection, NsecProof, NsecSet, Proof, denials_of
from sipdns.messages import LONGEST_ALIAS_CHAIN
from sipdns.records import Question, Security
from sipdns.signatures import (
    Doubt,
    Judgement,
    SignatureChecks,
    find_set,
    label_count,
    may_sign,
    set_text,
    signatures_of,
    type_text,
)
from sipdns.trust_anchors import Anchors

__all__ = ["AskForKeys", "Judged", "Validation"]

MOST_FETCHES: Final = 64
"""DS and DNSKEY questions for one answer: two for each label of a long name with CNAMEs."""


@dataclass(frozen=True, slots=True)
class AskForKeys(Request):
    """Ask the DNS, with signatures.  Result: the response's bytes, or Failure."""

    question: Question


@dataclass(frozen=True, slots=True)
class Judged:
    """The end."""

    judgement: Judgement


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
        self._checks = SignatureChecks(now, unix_offset)
        self._chain = Chain(anchors, ChainCache() if cache is None else cache, self._checks)
        self._events: deque[AskForKeys | Judged] = deque()
        self._fetches = 0
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
        self._checks.now = now
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
        except Doubt as doubt:
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
        return Judgement(security, reason, self._checks.expires, self._ttl())

    def _ttl(self) -> int | None:
        left = self._checks.seconds_left()
        if left is None or self._original_ttl is None:
            return None
        return max(0, min(self._original_ttl, left))

    def _judge_message(self, question: Question, message: dns.message.Message) -> Asking[str]:
        """Why the message is secure; Doubt when it is not."""
        name = dns.name.from_text(question.name)
        wanted = dns.rdatatype.from_text(question.type.value)
        reason = ""
        for _ in range(LONGEST_ALIAS_CHAIN + 1):
            found = find_set(message.answer, name, wanted)
            if found is not None:
                return (yield from self._check_set(found, message))
            alias = find_set(message.answer, name, dns.rdatatype.CNAME)
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
        if not signatures_of(message.answer, alias):
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
        labels = label_count(rrset.name)
        if signature.labels < labels:
            # RFC 4035 §5.3.4: made from a wildcard, so nothing nearer may exist.
            records = yield from self._denials(message, signature.signer)
            proof = NsecProof(records).no_closer(rrset.name, signature.labels)
            _require(proof, f"{set_text(rrset)} comes from a wildcard")
        return f"{set_text(rrset)} is signed by {signature.signer}"

    # -- signatures

    def _check_signatures(
        self, rrset: dns.rrset.RRset, section: Iterable[dns.rrset.RRset]
    ) -> Asking[dns.rdtypes.ANY.RRSIG.RRSIG]:
        """One that holds; Doubt when none does or the zone is not secure."""
        signatures = [one for one in signatures_of(section, rrset) if may_sign(one.signer, rrset)]
        if not signatures:
            yield from self._require_unsigned(rrset.name, rrset.rdtype, set_text(rrset))
        faults = []
        for signature in signatures:
            zone = yield from self._chain.descend(signature.signer)
            if zone.security is not Security.SECURE:
                raise Doubt(zone.security, zone.reason)
            if zone.name != signature.signer:
                faults.append(f"its signer {signature.signer} is no zone")
                continue
            fault = self._checks.fault(rrset, signature, zone.keys)
            if fault is None:
                known = self._original_ttl
                signed = signature.original_ttl
                self._original_ttl = signed if known is None else min(known, signed)
                return signature
            faults.append(fault)
        raise Doubt(Security.BOGUS, f"{set_text(rrset)}: {faults[0]}")

    def _require_unsigned(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, what: str
    ) -> Asking[None]:
        """Raise what follows when there is no signature."""
        above = name.parent() if kind == dns.rdatatype.DS and name != dns.name.root else name
        zone = yield from self._chain.descend(above)
        if zone.security is Security.SECURE:
            raise Doubt(Security.BOGUS, f"{what}: no signature, though {zone.name} is signed")
        raise Doubt(zone.security, zone.reason)

    # -- denial

    def _check_denial(
        self, name: dns.name.Name, wanted: dns.rdatatype.RdataType, message: dns.message.Message
    ) -> Asking[str]:
        no_name = message.rcode() == dns.rcode.NXDOMAIN
        what = (
            f"that {name} does not exist" if no_name else f"that {name} has no {type_text(wanted)}"
        )
        records = yield from self._denials(message, None)
        if not records.nsec and not records.nsec3:
            yield from self._require_unsigned(name, wanted, what)
        if not name.is_subdomain(records.zone):
            raise Doubt(Security.BOGUS, f"{what}: the proof is of another zone, {records.zone}")
        proofs = NsecProof(records)
        proof = proofs.no_name(name) if no_name else proofs.no_data(name, wanted)
        if proof.denial is Denial.MISSING:
            # The zone that denies may lie above an insecure delegation.
            zone = yield from self._chain.descend(_above(name, wanted))
            if zone.security is not Security.SECURE:
                raise Doubt(zone.security, zone.reason)
        _require(proof, what)
        return f"{records.zone} proves {what} ({proof.reason})"

    def _denials(
        self, message: dns.message.Message, signer: dns.name.Name | None
    ) -> Asking[NsecSet]:
        """The NSEC and NSEC3 records whose signatures hold, all of one zone."""
        zone = signer
        collected = NsecCollection()
        for rrset in denials_of(message):
            if not signatures_of(message.authority, rrset):
                continue
            signature = yield from self._check_signatures(rrset, message.authority)
            # A denial made from a wildcard denies nothing.
            if signature.labels == label_count(rrset.name):
                zone = zone or signature.signer
                if signature.signer == zone:
                    collected.add(rrset)
        return collected.of(zone or dns.name.root)


def _require(proof: Proof, what: str) -> None:
    match proof.denial:
        case Denial.PROVED:
            return
        case Denial.INSECURE | Denial.DELEGATION:
            raise Doubt(Security.INSECURE, f"{what}: {proof.reason}")
        case Denial.MISSING:
            raise Doubt(Security.BOGUS, f"{what}: {proof.reason}")


def _has_denial(message: dns.message.Message) -> bool:
    kinds = {dns.rdatatype.SOA, *DENIALS}
    return any(rrset.rdtype in kinds for rrset in message.authority)


def _above(name: dns.name.Name, wanted: dns.rdatatype.RdataType) -> dns.name.Name:
    is_ds = wanted == dns.rdatatype.DS and name != dns.name.root
    return name.parent() if is_ds else name
