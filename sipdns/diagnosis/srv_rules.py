"""Rules about SRV records (RFC 2782)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final

from natkit.sip.grammar import numeric_host
from sipdns.diagnosis.facts import Facts, SrvSet
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.record_lines import absolute, alias_line, srv_line
from sipdns.records import Question, RecordType, SrvRecord

__all__ = ["MISSPELT", "RULES"]

# What is found in zones and asked for by nobody who follows RFC 3263, with what was meant.
MISSPELT: Final = {
    "_sip._tls": "_sips._tcp",
    "_sips._tls": "_sips._tcp",
    "_sips._udp": "_sips._tcp",
    "_sip._tcps": "_sips._tcp",
    "_siptls._tcp": "_sips._tcp",
    "_sip-tls._tcp": "_sips._tcp",
    "sips._tcp": "_sips._tcp",
    "sip._tcp": "_sip._tcp",
    "sip._udp": "_sip._udp",
    "_sip.tcp": "_sip._tcp",
    "_sip.udp": "_sip._udp",
    "_udp._sip": "_sip._udp",
    "_tcp._sip": "_sip._tcp",
    "_sip.__udp": "_sip._udp",
}


def _sets(facts: Facts) -> tuple[SrvSet, ...]:
    found = facts.srv_sets()
    if not found:
        raise NotTested("there are no SRV records")
    return found


def _offered(facts: Facts) -> Iterator[tuple[SrvSet, SrvRecord]]:
    for one in _sets(facts):
        for record in one.offered:
            yield one, record


@rule(
    "srv-target-alias",
    Severity.FAULT,
    "RFC 2782",
    Area.SRV,
    "SRV targets are no aliases",
)
def srv_target_alias(facts: Facts) -> Iterator[Finding]:
    """The target must not be an alias; some callers refuse it, and none gets its address along."""
    for one, record in _offered(facts):
        found = facts.addresses(record.target)
        if found is not None and found.aliases:
            final = found.aliases[-1]
            yield Finding(
                one.name,
                f"its target {record.target} is a CNAME for {' → '.join(found.aliases)}",
                Fix(
                    publish=(srv_line(one.name, replace(record, target=final)),),
                    remove=(srv_line(one.name, record),),
                ),
            )


@rule(
    "srv-target-no-address",
    Severity.FAULT,
    "RFC 2782",
    Area.SRV,
    "SRV targets have addresses",
)
def srv_target_no_address(facts: Facts) -> Iterator[Finding]:
    """Callers drop the target; if it was the only one, they reach nobody."""
    for one, record in _offered(facts):
        if numeric_host(record.target) is not None:
            continue
        found = facts.addresses(record.target)
        if found is not None and not found.records:
            yield Finding(
                one.name,
                f"its target {record.target} has neither A nor AAAA",
                Fix(
                    remove=(srv_line(one.name, record),),
                    advice=f"or publish the addresses of {absolute(record.target)}",
                ),
            )


@rule(
    "srv-target-literal",
    Severity.FAULT,
    "RFC 2782",
    Area.SRV,
    "SRV targets are names",
)
def srv_target_literal(facts: Facts) -> Iterator[Finding]:
    """An address written as a target is looked up as a name, and has no address."""
    for one, record in _offered(facts):
        if numeric_host(record.target) is not None:
            host = f"sip.{facts.domain}"
            yield Finding(
                one.name,
                f"its target {record.target} is an address, where a name must stand",
                Fix(
                    publish=(
                        srv_line(one.name, replace(record, target=host)),
                        f"{host}. {record.ttl} IN A {record.target}",
                    ),
                    remove=(srv_line(one.name, record),),
                ),
            )


@rule(
    "srv-not-offered-with-address",
    Severity.WARNING,
    "RFC 2782",
    Area.SRV,
    "A domain that offers no service by SRV is not reached by its addresses",
)
def srv_not_offered_with_address(facts: Facts) -> Iterator[Finding]:
    """Callers that do not know the target "." reach whatever listens at the domain's addresses.

    To those that know it, it says that there is no such service.
    """
    closed = [one for one in _sets(facts) if not one.offered]
    if not closed:
        raise NotTested('no SRV record has the target "."')
    for one in closed:
        found = facts.addresses(facts.domain)
        if found is not None and found.records:
            addresses = ", ".join(record.address for record in found.records)
            yield Finding(
                one.name,
                f'its target is ".", and {facts.domain} has addresses: {addresses}',
                Fix(
                    remove=tuple(srv_line(one.name, record) for record in one.records),
                    advice="take it out if the service is offered; "
                    "otherwise see that nothing of SIP listens on these addresses",
                ),
            )


@rule(
    "srv-not-offered-and-offered",
    Severity.FAULT,
    "RFC 2782",
    Area.SRV,
    'The target "." stands alone',
)
def srv_not_offered_and_offered(facts: Facts) -> Iterator[Finding]:
    """The same name says that there is no such service, and where it is."""
    for one in _sets(facts):
        roots = [record for record in one.records if record.target == "."]
        if roots and one.offered:
            targets = ", ".join(record.target for record in one.offered)
            yield Finding(
                one.name,
                f'one target is ".", and others are {targets}',
                Fix(remove=tuple(srv_line(one.name, record) for record in roots)),
            )


@rule(
    "srv-misspelt",
    Severity.FAULT,
    "RFC 3263 §4.1",
    Area.SRV,
    "SRV records stand under the names that callers ask for",
)
def srv_misspelt(facts: Facts) -> Iterator[Finding]:
    """Nobody finds the records; what they were to offer is not offered."""
    yield from _misspelt(facts, right_exists=False)


@rule(
    "srv-name-unused",
    Severity.NOTE,
    "RFC 3263 §4.1",
    Area.SRV,
    "No SRV records stand under names that callers of SIP do not ask for",
)
def srv_name_unused(facts: Facts) -> Iterator[Finding]:
    """They serve other software, or were forgotten; the right records exist beside them."""
    yield from _misspelt(facts, right_exists=True)


def _misspelt(facts: Facts, *, right_exists: bool) -> Iterator[Finding]:
    domain = facts.domain
    if not facts.is_sip:
        raise NotTested("only names of SIP are known to be misspelt")
    wildcard = facts.srv(f"_natkit-no-such-service._tcp.{domain}")
    for wrong, right in MISSPELT.items():
        records = facts.srv(f"{wrong}.{domain}")
        if not records or wildcard:
            continue
        proper = facts.srv(f"{right}.{domain}")
        if proper is None or bool(proper) != right_exists:
            continue
        lines = tuple(srv_line(f"{right}.{domain}", one) for one in records)
        noun = "record" if len(records) == 1 else "records"
        yield Finding(
            f"{wrong}.{domain}",
            f"{len(records)} SRV {noun}, and callers ask for {right}.{domain}",
            Fix(
                publish=() if right_exists else lines,
                remove=tuple(srv_line(f"{wrong}.{domain}", one) for one in records),
            ),
        )


@rule(
    "srv-weights-zero",
    Severity.NOTE,
    "RFC 2782",
    Area.SRV,
    "Servers of one priority have weights to share calls by",
)
def srv_weights_zero(facts: Facts) -> Iterator[Finding]:
    """Callers differ in what they make of it, and many send all calls to one server.

    Weight 0 is for one server alone.
    """
    for one, group in _groups(facts):
        if len(group) > 1 and not any(record.weight for record in group):
            yield Finding(
                one.name,
                f"{len(group)} targets of priority {group[0].priority}, all of weight 0",
                Fix(
                    publish=tuple(srv_line(one.name, replace(item, weight=10)) for item in group),
                    remove=tuple(srv_line(one.name, item) for item in group),
                ),
            )


@rule(
    "srv-weight-zero-beside-others",
    Severity.NOTE,
    "RFC 2782",
    Area.SRV,
    "No target has weight 0 beside others with weights",
)
def srv_weight_zero_beside_others(facts: Facts) -> Iterator[Finding]:
    """Such a target is hardly ever chosen, and yet is no pure reserve.

    A reserve has a priority of its own.
    """
    for one, group in _groups(facts):
        idle = [record for record in group if not record.weight]
        if idle and len(idle) < len(group):
            total = sum(record.weight for record in group) + 1
            last = max(record.priority for record in one.records)
            for record in idle:
                yield Finding(
                    one.name,
                    f"{record.target} has weight 0 at priority {record.priority}: chosen first "
                    f"once in {total * len(idle)}",
                    Fix(
                        publish=(srv_line(one.name, replace(record, priority=last + 10)),),
                        remove=(srv_line(one.name, record),),
                    ),
                )


def _groups(facts: Facts) -> Iterator[tuple[SrvSet, list[SrvRecord]]]:
    for one in _sets(facts):
        ordered = sorted(one.offered, key=lambda record: record.priority)
        for _, group in groupby(ordered, key=lambda record: record.priority):
            yield one, list(group)


@rule(
    "srv-duplicate",
    Severity.WARNING,
    "RFC 2782",
    Area.SRV,
    "Each SRV set names a target and port once",
)
def srv_duplicate(facts: Facts) -> Iterator[Finding]:
    """A caller tries the same server again after it has failed, at the cost of another timeout."""
    for one in _sets(facts):
        counted = Counter((record.target, record.port) for record in one.offered)
        for (target, port), number in counted.items():
            if number > 1:
                same = [item for item in one.offered if (item.target, item.port) == (target, port)]
                yield Finding(
                    one.name,
                    f"{target} port {port} stands {number} times",
                    Fix(remove=tuple(srv_line(one.name, item) for item in same[1:])),
                )


@rule(
    "srv-port",
    Severity.FAULT,
    "RFC 2782",
    Area.SRV,
    "SRV records have a port",
)
def srv_port(facts: Facts) -> Iterator[Finding]:
    """Nothing listens on port 0."""
    for one, record in _offered(facts):
        if record.port == 0:
            right = replace(record, port=one.service.default_port)
            yield Finding(
                one.name,
                f"{record.target} has port 0",
                Fix(
                    publish=(srv_line(one.name, right),),
                    remove=(srv_line(one.name, record),),
                ),
            )


@rule(
    "srv-port-crossed",
    Severity.WARNING,
    "RFC 3261 §19.1.2",
    Area.SRV,
    "Secure services are not on the port of plain SIP, nor the other way round",
)
def srv_port_crossed(facts: Facts) -> Iterator[Finding]:
    """A caller may speak TLS to a server that expects none, or the reverse.

    Port 5060 is for plain SIP and 5061 for TLS; other ports are free to use.
    """
    for one, record in _offered(facts):
        secure = one.service.transport.is_secure
        if facts.is_sip and record.port == (5060 if secure else 5061):
            right = replace(record, port=one.service.default_port)
            yield Finding(
                one.name,
                f"{record.target} has port {record.port}, where {one.service.transport} "
                f"has {right.port}",
                Fix(
                    publish=(srv_line(one.name, right),),
                    remove=(srv_line(one.name, record),),
                ),
            )


@rule(
    "srv-name-alias",
    Severity.NOTE,
    "RFC 1034 §3.6.2",
    Area.SRV,
    "SRV names are no aliases",
)
def srv_name_alias(facts: Facts) -> Iterator[Finding]:
    """This is allowed, and costs callers a step when the alias leads out of the zone."""
    for one in _sets(facts):
        answer = facts.answer(Question(one.name, RecordType.SRV))
        if answer is not None and answer.aliases:
            yield Finding(
                one.name,
                f"it is a CNAME for {' → '.join(answer.aliases)}",
                Fix(
                    publish=tuple(srv_line(one.name, record) for record in one.records),
                    remove=tuple(map(alias_line, answer.cnames[:1])),
                ),
            )


RULES: Final = (
    srv_target_alias,
    srv_target_no_address,
    srv_target_literal,
    srv_not_offered_with_address,
    srv_not_offered_and_offered,
    srv_misspelt,
    srv_name_unused,
    srv_weights_zero,
    srv_weight_zero_beside_others,
    srv_duplicate,
    srv_port,
    srv_port_crossed,
    srv_name_alias,
)
