"""A diagnosis as the JSON object of ``sipdns check``; docs/sipdns-check.md explains it."""

from collections.abc import Sequence
from typing import Final

from natkit.machine import Failure, Transport
from sipdns.decisions import Step
from sipdns.diagnosis.examination import Diagnosis, Query
from sipdns.diagnosis.finding import Check, Finding, Status
from sipdns.diagnosis.waiting import SILENCE, Attempted, first_chances
from sipdns.probe_results import BindingAnswer, OptionsAnswer, ProbeResult, Standing
from sipdns.records import Answer, Unanswered
from sipdns.report import as_json
from sipdns.targets import Outcome

__all__ = ["PROBE_STATUSES", "clause", "diagnosis_as_json", "failover_as_json", "probe_as_json"]

PROBE_STATUSES: Final = {
    Standing.OK: Status.PASSED,
    Standing.FAILED: Status.FAILED,
    Standing.NOT_TESTED: Status.NOT_TESTED,
}


def diagnosis_as_json(diagnosis: Diagnosis) -> dict[str, object]:
    """The whole diagnosis, but for the schema number."""
    outcome = as_json(diagnosis.outcome)
    search = diagnosis.search
    return {
        "uri": diagnosis.outcome.uri,
        "status": diagnosis.status.value,
        "input": {
            "target": search.target,
            "numeric": search.is_numeric,
            "port": search.port,
            "transport_given": search.transport_is_given,
            "transports": [one.transport.value for one in search.services],
            "clause": clause(diagnosis)[1],
        },
        "error": None if diagnosis.outcome.error is None else str(diagnosis.outcome.error),
        "rounds": diagnosis.outcome.rounds,
        "decisions": outcome["decisions"],
        "naptr": [
            {"record": one.subject, "verdict": one.verdict.value, "reason": one.reason}
            for one in diagnosis.outcome.decisions
            if one.step is Step.NAPTR
        ],
        "queries": [_query(one) for one in diagnosis.queries],
        "inquiries": [
            {
                "name": inquiry.name,
                "type": inquiry.type,
                "server": str(inquiry.server),
                "carrier": "tcp" if inquiry.over_tcp else "udp",
                "recursive": inquiry.recursive,
                "rcode": None if isinstance(reply, Failure) else reply.rcode,
                "authoritative": None if isinstance(reply, Failure) else reply.authoritative,
                "size": None if isinstance(reply, Failure) else reply.size,
                "failure": reply.reason if isinstance(reply, Failure) else None,
            }
            for inquiry, reply in diagnosis.replies
        ],
        "plans": [_plan(transport, plan) for transport, plan in diagnosis.plans],
        "findings": [
            _finding(check, finding) for check in diagnosis.checks for finding in check.findings
        ],
        "checks": [_check(one) for one in diagnosis.checks],
    }


def clause(diagnosis: Diagnosis) -> tuple[str, str]:
    """What the input was read as, and by which clause that decides what is asked."""
    search = diagnosis.search
    if not diagnosis.outcome.uri.startswith("sip"):
        return "the URI of a server", search.transport_rfc
    if search.is_numeric:
        return "an address: nothing is asked of the DNS", "RFC 3263 §4.1, §4.2: numeric"
    if search.port is not None:
        return "a host and a port: only its addresses are asked", "RFC 3263 §4.1, §4.2: port"
    if search.transport_is_given:
        return "a domain and a transport: SRV, then addresses", "RFC 3263 §4.1: transport parameter"
    return "a domain: NAPTR, SRV, then addresses", "RFC 3263 §4.1: NAPTR"


def failover_as_json(attempts: Sequence[Attempted]) -> list[dict[str, object]]:
    """The run of ``--explain-failover``."""
    return [
        {
            "number": one.number,
            "transport": one.target.transport.value,
            "address": one.target.address.host,
            "port": one.target.address.port,
            "host": one.target.host,
            "begins": one.begins,
            "outcome": one.how.value,
        }
        for one in attempts
    ]


def probe_as_json(result: ProbeResult) -> dict[str, object]:
    """What --probe found of one target."""
    target, facts = result.target, result.facts
    return {
        "protocol": target.protocol.value,
        "transport": target.transport.value,
        "address": target.address.host,
        "port": target.address.port,
        "host": target.host,
        "tls_name": target.tls_name,
        "status": PROBE_STATUSES[result.standing].value,
        "checks": [
            {
                "name": name,
                "status": PROBE_STATUSES[check.standing].value,
                "evidence": check.evidence,
            }
            for name, check in result.checks
        ],
        "tls": None
        if facts is None
        else {
            "version": facts.version,
            "cipher": facts.cipher,
            "certificates": [
                {
                    "subject": one.subject,
                    "issuer": one.issuer,
                    "not_before": one.not_before.isoformat(),
                    "not_after": one.not_after.isoformat(),
                    "names": list(one.names),
                }
                for one in facts.certificates
            ],
        },
        "answer": _probe_answer(result.answer),
    }


def _probe_answer(answer: OptionsAnswer | BindingAnswer | None) -> dict[str, object] | None:
    match answer:
        case None:
            return None
        case BindingAnswer(mapped, round_trip):
            return {"mapped": str(mapped), "seconds": round_trip}
        case OptionsAnswer():
            return {
                "status": answer.status,
                "reason": answer.reason,
                "seconds": answer.round_trip,
                "sent": answer.sent,
                "server": answer.server,
                "allow": list(answer.allow),
                "supported": list(answer.supported),
                "received": answer.received,
                "rport": answer.rport,
            }


def _query(query: Query) -> dict[str, object]:
    answer = query.answer
    attempt = answer.attempt if isinstance(answer, Answer) else None
    if isinstance(answer, Unanswered) and answer.attempts:
        attempt = answer.attempts[-1]
    found = answer if isinstance(answer, Answer) else None
    told = answer if isinstance(answer, Answer | Unanswered) else None
    return {
        "round": query.round,
        "name": query.question.name,
        "type": query.question.type.value,
        "result": found.status.value if found else "no answer",
        "records": len(found.records) if found else 0,
        "aliases": list(found.aliases) if found else [],
        "ttl": found.ttl if found else None,
        "server": attempt.server if attempt else None,
        "carrier": attempt.carrier.value if attempt else None,
        "rcode": attempt.rcode if attempt else None,
        "size": attempt.size if attempt else None,
        "truncated": any(one.truncated for one in told.attempts) if told else False,
        "security": told.security.value if told else None,
        "seconds": told.seconds if told else None,
        "failure": answer.reason if isinstance(answer, Failure) else None,
    }


def _plan(transport: Transport, plan: Outcome) -> dict[str, object]:
    targets = as_json(plan)["targets"]
    rows = []
    if isinstance(targets, list):
        chances = first_chances(plan.targets)
        for index, (target, chance) in enumerate(zip(targets, chances, strict=True)):
            rows.append({**target, "first": round(chance, 6), "begins": index * SILENCE})
    return {
        "transport": transport.value,
        "targets": rows,
        "error": None if plan.error is None else str(plan.error),
    }


def _finding(check: Check, finding: Finding) -> dict[str, object]:
    return {
        "id": check.rule.id,
        "severity": check.rule.severity.value,
        "rfc": check.rule.rfc,
        "subject": finding.subject,
        "evidence": finding.evidence,
        "remove": list(finding.fix.remove),
        "publish": list(finding.fix.publish),
        "advice": finding.fix.advice,
    }


def _check(check: Check) -> dict[str, object]:
    return {
        "id": check.rule.id,
        "area": check.rule.area.value,
        "claim": check.rule.claim,
        "status": check.status.value,
        "reason": check.reason if check.status in (Status.NOT_TESTED, Status.ERROR) else "",
    }
