"""Rules about what a caller over TLS finds, and which transports there are at all."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from natkit.errors import DnsFailure, NoService
from natkit.machine import Transport
from sipdns.diagnosis.facts import Facts, SrvSet
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.record_lines import naptr_line, srv_line
from sipdns.records import NaptrRecord, SrvRecord

__all__ = ["RULES"]


@rule(
    "no-server",
    Severity.FAULT,
    "RFC 3263 §4",
    Area.SERVICE,
    "The URI leads to a server",
)
def no_server(facts: Facts) -> Iterator[Finding]:
    """Nobody can be reached."""
    error = facts.outcome.error
    if isinstance(error, DnsFailure):
        facts.miss(str(error))
    elif error is not None and not _reached(facts):
        domain = facts.search.target
        host = f"sip.{domain}"
        lines = (
            f'{domain}. 3600 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.{domain}.',
            f"_sips._tcp.{domain}. 3600 IN SRV 10 10 5061 {host}.",
        )
        can_publish = facts.is_sip and facts.search.port is None and not facts.search.is_numeric
        yield Finding(
            facts.search.uri,
            str(error),
            Fix(
                publish=lines if can_publish else (),
                advice=f"and the addresses of {host}." if can_publish else "correct the URI",
            ),
        )


@rule(
    "caller-without-server",
    Severity.WARNING,
    "RFC 3263 §4.1",
    Area.SERVICE,
    "The domain has a transport in common with the caller",
)
def caller_without_server(facts: Facts) -> Iterator[Finding]:
    """Callers that speak these transports only reach nobody; others do."""
    reached = _reached(facts)
    if isinstance(facts.outcome.error, DnsFailure):
        facts.miss(str(facts.outcome.error))
    if isinstance(facts.outcome.error, NoService) and reached:
        spoken = ", ".join(one.transport for one in facts.search.services) or "nothing of it"
        yield Finding(
            facts.search.uri,
            f"a caller that speaks {spoken} finds no server; there are some over "
            f"{', '.join(reached)}",
            Fix(advice="publish a server for what callers speak; --transports says what that is"),
        )


def _reached(facts: Facts) -> list[Transport]:
    """The transports over which servers are found."""
    return [transport for transport, plan in facts.plans.items() if plan.targets]


@rule(
    "sips-missing",
    Severity.WARNING,
    "RFC 3263 §4.1",
    Area.SECURITY,
    "A domain with SIP servers has them over TLS",
)
def sips_missing(facts: Facts) -> Iterator[Finding]:
    """sips: URIs of the domain cannot be called, and nobody can call in confidence."""
    domain = facts.domain
    if not facts.is_sip:
        raise NotTested("it is about SIP")
    sets = [one for one in facts.srv_sets() if one.offered]
    if not sets:
        raise NotTested("there are no SRV records")
    if any(one.service.transport.is_secure for one in sets):
        return
    if any(service.transport.is_secure for _, service in facts.naptr_services()):
        return
    if facts.srv(f"_sips._tcp.{domain}") is None or facts.naptr_of(domain) is None:
        return
    lines = [srv_line(f"_sips._tcp.{domain}", record) for record in _over_tls(sets)]
    if facts.naptr():
        first = facts.naptr()[0]
        order = max(0, first.order - 1)
        record = NaptrRecord(
            order, first.preference, "s", "SIPS+D2T", "", f"_sips._tcp.{domain}", first.ttl
        )
        lines.insert(0, naptr_line(domain, record))
    names = ", ".join(one.name for one in sets)
    yield Finding(
        domain,
        f"SRV records are at {names}, and none at _sips._tcp.{domain}",
        Fix(publish=tuple(lines)),
    )


def _over_tls(sets: list[SrvSet]) -> list[SrvRecord]:
    """The records that the same hosts would have for TLS."""
    best = next((one for one in sets if one.service.transport is Transport.TCP), sets[0])
    return [replace(record, port=5061) for record in best.offered]


@rule(
    "sips-without-server",
    Severity.FAULT,
    "RFC 3263 §4.1",
    Area.SECURITY,
    "A domain that names SIPS in NAPTR has a server for it",
)
def sips_without_server(facts: Facts) -> Iterator[Finding]:
    """A caller that speaks TLS follows the record and ends there."""
    if not facts.is_sip:
        raise NotTested("it is about SIP")
    named = [one for one in facts.naptr_services() if one[1].transport.is_secure]
    if not named:
        raise NotTested("no NAPTR record names a secure service")
    for record, service in named:
        plan = facts.plans.get(service.transport)
        if plan is None:
            continue
        if isinstance(plan.error, DnsFailure):
            facts.miss(str(plan.error))
        elif not plan.targets:
            yield Finding(
                facts.domain,
                f'"{record.service}" is offered, and no server is found over {service.transport}',
                Fix(
                    remove=(naptr_line(facts.domain, record),),
                    advice="or publish the servers that it leads to",
                ),
            )


@rule(
    "tcp-missing",
    Severity.NOTE,
    "RFC 3261 §18",
    Area.SERVICE,
    "Servers that are found over UDP are found over TCP as well",
)
def tcp_missing(facts: Facts) -> Iterator[Finding]:
    """Requests near the size of the path's MTU must go over TCP, and every server speaks it."""
    if not facts.is_sip:
        raise NotTested("it is about SIP")
    sets = {one.service.transport: one for one in facts.srv_sets() if one.offered}
    if Transport.UDP not in sets:
        raise NotTested("there are no SRV records for UDP")
    name = f"_sip._tcp.{facts.domain}"
    if Transport.TCP not in sets and facts.srv(name) == ():
        lines = tuple(srv_line(name, record) for record in sets[Transport.UDP].offered)
        yield Finding(
            facts.domain, f"{sets[Transport.UDP].name} exists, {name} not", Fix(publish=lines)
        )


RULES: Final = (no_server, caller_without_server, tcp_missing, sips_missing, sips_without_server)
