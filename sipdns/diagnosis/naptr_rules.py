"""Rules about NAPTR records (RFC 3263 §4.1, RFC 3403)."""

from collections.abc import Iterator
from typing import Final

from natkit.machine import Transport
from sipdns.diagnosis.facts import Facts
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.record_lines import naptr_line
from sipdns.records import NaptrRecord
from sipdns.services import Service

__all__ = ["RULES"]

LONGEST_CHAIN: Final = 5
"""Non-terminal records followed one after another, as in a lookup."""

MOST_NAMES: Final = 16
"""Names that non-terminal records may lead to, in breadth."""


def _records(facts: Facts) -> tuple[NaptrRecord, ...]:
    records = facts.naptr()
    if not records:
        raise NotTested("there are no NAPTR records")
    return records


def _repaired(facts: Facts, record: NaptrRecord, service: Service) -> Fix:
    """The record as it should be, in place of what it is."""
    replacement = record.replacement
    if replacement == "." or (service.srv and not replacement.startswith(f"{service.srv}.")):
        replacement = f"{service.srv}.{facts.domain}" if service.srv else facts.domain
    right = NaptrRecord(
        record.order,
        record.preference,
        "s" if service.srv else "a",
        service.naptr_text,
        "",
        replacement,
        record.ttl,
    )
    return Fix(
        publish=(naptr_line(facts.domain, right),), remove=(naptr_line(facts.domain, record),)
    )


@rule(
    "srv-without-naptr",
    Severity.NOTE,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR records name every SRV set of the domain",
)
def srv_without_naptr(facts: Facts) -> Iterator[Finding]:
    """Without NAPTR a caller tries the transports in an order of its own.

    A transport that the NAPTR records leave out is not used by callers that read them.
    """
    own = [
        one
        for one in facts.srv_sets()
        if one.offered and one.service.naptr and one.name == f"{one.service.srv}.{facts.domain}"
    ]
    if not own:
        raise NotTested("the domain has no SRV records of its own")
    if facts.naptr_of(facts.domain) is None:
        return
    named = {record.replacement for record in facts.naptr()}
    services = {service for _, service in facts.naptr_services()}
    missing = [one for one in own if one.name not in named and one.service not in services]
    if not missing:
        return
    # Secure ones first, as a domain would have it; the rest as RFC 3263 lists them.
    missing.sort(key=lambda one: (not one.service.transport.is_secure, one.name))
    order = max((record.order for record in facts.naptr()), default=0)
    lines = []
    for position, one in enumerate(missing, start=1):
        rank = order + 10 * position
        record = NaptrRecord(
            rank, 10, "s", one.service.naptr_text, "", one.name, one.records[0].ttl
        )
        lines.append(naptr_line(facts.domain, record))
    names = ", ".join(one.name for one in missing)
    yield Finding(facts.domain, f"no NAPTR record leads to {names}", Fix(publish=tuple(lines)))


@rule(
    "naptr-srv-missing",
    Severity.FAULT,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR records lead to SRV records that exist",
)
def naptr_srv_missing(facts: Facts) -> Iterator[Finding]:
    """The caller takes the transport that the record promises, and finds no server there."""
    _records(facts)
    for record, service in facts.naptr_services():
        if record.flags.lower() != "s" or record.replacement == ".":
            continue
        if facts.srv(record.replacement) == ():
            yield Finding(
                record.replacement,
                f'NAPTR {record.order} {record.preference} "{record.service}" leads to it, '
                "and it has no SRV records",
                Fix(
                    publish=(_srv_lines(facts, record, service)),
                    advice="or take the NAPTR record out: " + naptr_line(facts.domain, record),
                ),
            )


def _srv_lines(facts: Facts, record: NaptrRecord, service: Service) -> tuple[str, ...]:
    """SRV records at the replacement, with the hosts that serve the domain otherwise."""
    name, ttl = record.replacement, record.ttl
    hosts = dict.fromkeys(
        (one.priority, one.weight, one.target)
        for known in facts.srv_sets()
        for one in known.offered
    ) or {(10, 10, f"sip.{facts.domain}"): None}
    return tuple(
        f"{name}. {ttl} IN SRV {priority} {weight} {service.default_port} {host}."
        for priority, weight, host in hosts
    )


@rule(
    "naptr-host-missing",
    Severity.FAULT,
    "RFC 3403 §4.1",
    Area.NAPTR,
    "NAPTR records with the flag A lead to hosts with addresses",
)
def naptr_host_missing(facts: Facts) -> Iterator[Finding]:
    """The caller takes the transport that the record promises, and finds no address there."""
    _records(facts)
    records = [one for one, _ in facts.naptr_services() if one.flags.lower() == "a"]
    if not records:
        raise NotTested("no NAPTR record has the flag A")
    for record in records:
        found = facts.addresses(record.replacement)
        if found is not None and not found.records:
            yield Finding(
                record.replacement,
                f'NAPTR {record.order} {record.preference} "{record.service}" leads to it, '
                "and it has neither A nor AAAA",
                Fix(
                    advice=f"publish the addresses of {record.replacement}.",
                    remove=(naptr_line(facts.domain, record),),
                ),
            )


@rule(
    "naptr-flag",
    Severity.FAULT,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR records have the flag S or A",
)
def naptr_flag(facts: Facts) -> Iterator[Finding]:
    """Callers pass over a record whose flag is neither; with U it would be one of ENUM."""
    _records(facts)
    for record, service in facts.naptr_services():
        if record.flags.lower() not in ("", "s", "a"):
            yield Finding(
                facts.domain,
                f'NAPTR {record.order} {record.preference} "{record.service}" '
                f'has the flag "{record.flags}"',
                _repaired(facts, record, service),
            )


@rule(
    "naptr-regexp",
    Severity.FAULT,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR records for SIP have a replacement and no regular expression",
)
def naptr_regexp(facts: Facts) -> Iterator[Finding]:
    """Callers use the replacement only; many do not look at the expression at all."""
    _records(facts)
    for record, service in facts.naptr_services():
        if record.replacement == "." and record.flags:
            holds = f"the expression {record.regexp!r} alone" if record.regexp else "neither"
            yield Finding(
                facts.domain,
                f'NAPTR {record.order} {record.preference} "{record.service}" has {holds}',
                _repaired(facts, record, service),
            )


@rule(
    "naptr-regexp-and-replacement",
    Severity.FAULT,
    "RFC 3403 §4.1",
    Area.NAPTR,
    "No NAPTR record has both a regular expression and a replacement",
)
def naptr_regexp_and_replacement(facts: Facts) -> Iterator[Finding]:
    """The two exclude each other; a caller may take the record for an error and pass over it."""
    _records(facts)
    for record, service in facts.naptr_services():
        if record.regexp and record.replacement != ".":
            yield Finding(
                facts.domain,
                f'NAPTR {record.order} {record.preference} "{record.service}" '
                f"has the expression {record.regexp!r} and the replacement {record.replacement}",
                _repaired(facts, record, service),
            )


@rule(
    "naptr-service",
    Severity.WARNING,
    "RFC 3263 §9",
    Area.NAPTR,
    "NAPTR records name registered services",
)
def naptr_service(facts: Facts) -> Iterator[Finding]:
    """No caller looks for a service that is not registered."""
    records = _records(facts)
    known = {one.naptr_text.lower() for one in facts.services.values() if one.naptr}
    for record in records:
        # RFC 3958 lets one record name several protocols; only SIP's table is closed.
        if facts.is_sip and record.service and record.service.lower() not in known:
            names = ", ".join(one.naptr_text for one in facts.services.values() if one.naptr)
            yield Finding(
                facts.domain,
                f'NAPTR {record.order} {record.preference} names the service "{record.service}"',
                Fix(
                    remove=(naptr_line(facts.domain, record),),
                    advice=f"the services are {names}",
                ),
            )


@rule(
    "naptr-service-mismatch",
    Severity.FAULT,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR services and the SRV names that they lead to agree",
)
def naptr_service_mismatch(facts: Facts) -> Iterator[Finding]:
    """The caller speaks the transport of the service to a server that expects another."""
    _records(facts)
    prefixes = {one.srv: one for one in facts.services.values() if one.srv}
    for record, service in facts.naptr_services():
        prefix = ".".join(record.replacement.split(".")[:2])
        meant = prefixes.get(prefix)
        if record.flags.lower() == "s" and meant is not None and meant != service:
            yield Finding(
                record.replacement,
                f'NAPTR {record.order} {record.preference} "{record.service}" leads to the '
                f"SRV name of {meant.transport}",
                _repaired(facts, record, service),
            )


@rule(
    "naptr-not-terminal",
    Severity.WARNING,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR records are terminal",
)
def naptr_not_terminal(facts: Facts) -> Iterator[Finding]:
    """Few callers follow a record to further NAPTR records: RFC 3263 does not foresee it."""
    for record in _records(facts):
        if not record.flags:
            yield Finding(
                facts.domain,
                f'NAPTR {record.order} {record.preference} "{record.service}" has no flag: it '
                f"leads to the NAPTR records of {record.replacement}",
                Fix(
                    remove=(naptr_line(facts.domain, record),),
                    advice=f"publish the NAPTR records of {record.replacement} here",
                ),
            )


@rule(
    "naptr-loop",
    Severity.FAULT,
    "RFC 3403 §4.1",
    Area.NAPTR,
    "NAPTR records that are not terminal come to an end",
)
def naptr_loop(facts: Facts) -> Iterator[Finding]:
    """A caller gives up, after as many queries as it allows itself."""
    if all(record.flags for record in _records(facts)):
        raise NotTested("all NAPTR records are terminal")
    seen: set[str] = set()
    paths: list[tuple[str, ...]] = [(facts.domain,)]
    while paths:
        path = paths.pop()
        for record in facts.naptr_of(path[-1]) or ():
            following = record.replacement
            if record.flags or following == ".":
                continue
            chain = " → ".join((*path, following))
            if following in path:
                fix = Fix(remove=(naptr_line(path[-1], record),))
                yield Finding(path[-1], f"a loop: {chain}", fix)
            elif len(path) > LONGEST_CHAIN:
                fix = Fix(advice="publish terminal records at the domain itself")
                yield Finding(path[-1], f"a chain of more than {LONGEST_CHAIN}: {chain}", fix)
            elif following not in seen and len(seen) < MOST_NAMES:
                seen.add(following)
                paths.append((*path, following))


@rule(
    "naptr-plain-first",
    Severity.WARNING,
    "RFC 3263 §4.1",
    Area.NAPTR,
    "NAPTR records put secure transports before plain ones",
)
def naptr_plain_first(facts: Facts) -> Iterator[Finding]:
    """A caller that speaks TLS follows the domain's order and calls in the clear."""
    ranked = [
        (record.order, record.preference, record, service)
        for record, service in facts.naptr_services()
        if record.flags.lower() in ("s", "a")
    ]
    secure = [one for one in ranked if one[3].transport.is_secure]
    plain = [one for one in ranked if not one[3].transport.is_secure]
    if not secure or not plain:
        raise NotTested("the NAPTR records do not have both secure and plain transports")
    for transports in (
        {Transport.WS, Transport.WSS},
        set(Transport) - {Transport.WS, Transport.WSS},
    ):
        group = [one for one in secure if one[3].transport in transports]
        if not group:
            continue
        best = min(group, key=lambda one: one[:2])
        earlier = [one for one in plain if one[:2] < best[:2] and one[3].transport in transports]
        if earlier:
            first = min(earlier, key=lambda one: one[:2])
            yield Finding(
                facts.domain,
                f'"{first[2].service}" has order {first[0]}, preference {first[1]}, and '
                f'"{best[2].service}" has order {best[0]}, preference {best[1]}',
                _swapped(facts, first[2], best[2]),
            )


def _swapped(facts: Facts, plain: NaptrRecord, secure: NaptrRecord) -> Fix:
    def at(rank: NaptrRecord, record: NaptrRecord) -> NaptrRecord:
        return NaptrRecord(
            rank.order,
            rank.preference,
            record.flags,
            record.service,
            record.regexp,
            record.replacement,
            record.ttl,
        )

    return Fix(
        publish=(
            naptr_line(facts.domain, at(plain, secure)),
            naptr_line(facts.domain, at(secure, plain)),
        ),
        remove=(naptr_line(facts.domain, plain), naptr_line(facts.domain, secure)),
    )


RULES: Final = (
    srv_without_naptr,
    naptr_srv_missing,
    naptr_host_missing,
    naptr_flag,
    naptr_regexp,
    naptr_regexp_and_replacement,
    naptr_service,
    naptr_service_mismatch,
    naptr_not_terminal,
    naptr_loop,
    naptr_plain_first,
)
