"""Rules about DNSSEC (RFC 4033 to 4035)."""

import calendar
from collections.abc import Iterator
from typing import Final

from sipdns.diagnosis.authority import apex_of, authorities_of
from sipdns.diagnosis.facts import Facts
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.reply import Inquiry, Reply
from sipdns.records import Question, RecordType, Security, Unanswered

__all__ = ["RULES"]

SOON: Final = 3 * 86400
"""Seconds.  Signers renew a week before the end and more; three days mean that one has stopped."""


def _questions(facts: Facts) -> list[Question]:
    if facts.surroundings.offline:
        raise NotTested("signatures of a zone file are not looked at")
    if facts.search.is_numeric:
        raise NotTested("the host is an address: nothing is asked of the DNS")
    target = facts.search.target
    asked = [Question(target, RecordType.A), Question(target, RecordType.AAAA)]
    if facts.search.port is None:
        asked.append(Question(target, RecordType.NAPTR))
        asked += [
            Question(f"{one.srv}.{target}", RecordType.SRV)
            for one in facts.services.values()
            if one.srv
        ]
    return asked


@rule(
    "dnssec-bogus",
    Severity.FAULT,
    "RFC 4035 §5.5",
    Area.DNSSEC,
    "Signed answers validate",
)
def dnssec_bogus(facts: Facts) -> Iterator[Finding]:
    """Whoever validates gets no answer; the domain does not exist for them."""
    for question in _questions(facts):
        failure = facts.has_failed(question)
        if failure is None:
            continue
        if isinstance(failure, Unanswered) and failure.security is Security.BOGUS:
            evidence = failure.reason
        elif _is_withheld(facts, question):
            evidence = f"SERVFAIL, and an answer when checking is disabled ({failure.reason})"
        else:
            facts.answer(question)
            continue
        yield Finding(
            str(question),
            evidence,
            Fix(advice="sign the zone anew, or put right the DS records in its parent zone"),
        )


def _is_withheld(facts: Facts, question: Question) -> bool:
    """Whether the resolver has an answer that it does not believe."""
    resolver = facts.surroundings.resolver
    if resolver is None:
        return False
    checked = facts.attempt(Inquiry(question.name, question.type, resolver))
    unchecked = facts.attempt(
        Inquiry(question.name, question.type, resolver, checking_disabled=True)
    )
    return (
        isinstance(checked, Reply)
        and isinstance(unchecked, Reply)
        and checked.rcode == "SERVFAIL"
        and unchecked.rcode in ("NOERROR", "NXDOMAIN")
    )


@rule(
    "dnssec-expired",
    Severity.FAULT,
    "RFC 4035 §5.3.1",
    Area.DNSSEC,
    "No signature has expired",
)
def dnssec_expired(facts: Facts) -> Iterator[Finding]:
    """Whoever validates gets no answer; the domain does not exist for them."""
    for subject, type_, left in _signatures(facts):
        if left < 0:
            yield Finding(
                subject,
                f"the signature of its {type_} records expired {_days(-left)} ago",
                Fix(advice="sign the zone anew, and see why its signer has stopped"),
            )


@rule(
    "dnssec-expires-soon",
    Severity.WARNING,
    "RFC 4035 §5.3.1",
    Area.DNSSEC,
    f"No signature expires within {SOON // 86400} days",
)
def dnssec_expires_soon(facts: Facts) -> Iterator[Finding]:
    """After that, whoever validates gets no answer."""
    for subject, type_, left in _signatures(facts):
        if 0 <= left < SOON:
            yield Finding(
                subject,
                f"the signature of its {type_} records expires in {_days(left)}",
                Fix(advice="sign the zone anew, and see whether its signer still runs"),
            )


def _signatures(facts: Facts) -> Iterator[tuple[str, str, float]]:
    """Name, type and seconds left of each signature that the zone's servers send."""
    questions = _questions(facts)
    apex = apex_of(facts, facts.search.target)
    servers = authorities_of(facts, apex) if apex is not None else ()
    signed = False
    asked = [(apex or "", "SOA"), *((one.name, str(one.type)) for one in questions)]
    for server in servers[:1]:
        for name, type_ in asked:
            reply = facts.reply(Inquiry(name, type_, server.address, recursive=False))
            found = reply.find(name, "RRSIG") if reply is not None else None
            for text in found.data if found else ():
                signed = True
                covered, _, _, _, expiration, *_ = text.split()
                ends = calendar.timegm(_moment(expiration))
                yield name, covered, ends - facts.surroundings.unix_time
    if not signed and not facts.wanted and not facts.gaps:
        raise NotTested("the zone is not signed")


def _moment(text: str) -> tuple[int, int, int, int, int, int]:
    """``YYYYMMDDHHmmSS`` in its parts (RFC 4034 §3.2)."""
    return (
        int(text[:4]),
        int(text[4:6]),
        int(text[6:8]),
        int(text[8:10]),
        int(text[10:12]),
        int(text[12:14]),
    )


def _days(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


RULES: Final = (dnssec_bogus, dnssec_expired, dnssec_expires_soon)
