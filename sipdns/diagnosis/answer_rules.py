"""Rules about how the DNS answers: TTLs, size, wildcards, silence, resolvers that disagree."""

from collections.abc import Iterator
from typing import Final

from natkit.address import Address
from natkit.machine import Failure
from sipdns.diagnosis.authority import authorities, same_zone
from sipdns.diagnosis.facts import Facts
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.record_lines import absolute, address_line, naptr_line, srv_line
from sipdns.diagnosis.reply import Inquiry, Reply
from sipdns.records import (
    AddressRecord,
    Answer,
    NaptrRecord,
    Question,
    Record,
    RecordType,
    SrvRecord,
    Status,
)

__all__ = ["RULES"]

SHORT_TTL: Final = 30
"""Seconds.  Below it caches are of no use to a domain that is called often."""

LONG_TTL: Final = 86400
"""Seconds.  A day is what a moved server may cost its callers."""

MISMATCH: Final = 10
"""How many times longer one TTL may be than another that it works together with."""

PROBE: Final = "natkit-no-such-host"
PROBE_SERVICE: Final = "_natkit-no-such-service"
"""Labels that no zone has, so what answers is a wildcard."""


def _questions(facts: Facts) -> list[Question]:
    """What a caller's lookup asks, as far as there are records."""
    asked = []
    if not facts.search.is_numeric and facts.search.port is None:
        asked.append(Question(facts.domain, RecordType.NAPTR))
        asked += [Question(one.name, RecordType.SRV) for one in facts.srv_sets()]
    for host in facts.hosts():
        asked += [Question(host, RecordType.A), Question(host, RecordType.AAAA)]
    return asked


def _ttls(facts: Facts) -> dict[Question, tuple[int, Answer]]:
    """The TTLs as the zone has them; a resolver's cache would only tell what is left of them."""
    found = {}
    for question in _questions(facts):
        answer = facts.answer(question)
        if answer is None or answer.status is not Status.RECORDS or answer.aliases:
            continue
        attempt = answer.attempt
        if facts.surroundings.offline or (attempt is not None and attempt.authoritative):
            found[question] = (answer.records[0].ttl, answer)
        elif same_zone(facts, question.name):
            ttl = _original_ttl(facts, question)
            if ttl is not None:
                found[question] = (ttl, answer)
    if not found and not facts.wanted and not facts.gaps:
        raise NotTested("there are no records, or none whose zone's servers can be asked")
    return found


def _original_ttl(facts: Facts, question: Question) -> int | None:
    for server in authorities(facts, facts.search.target)[:1]:
        inquiry = Inquiry(question.name, question.type, server.address, recursive=False)
        reply = facts.reply(inquiry)
        found = reply.find(question.name, question.type) if reply else None
        return found.ttl if found else None
    return None


def _lines(question: Question, answer: Answer, ttl: int) -> tuple[str, ...]:
    return tuple(_line(question.name, record, ttl) for record in answer.records)


def _line(name: str, record: Record, ttl: int) -> str:
    match record:
        case AddressRecord():
            return address_line(name, AddressRecord(record.address, ttl))
        case SrvRecord(priority, weight, port, target):
            return srv_line(name, SrvRecord(priority, weight, port, target, ttl))
        case NaptrRecord(order, preference, flags, service, regexp, replacement):
            return naptr_line(
                name, NaptrRecord(order, preference, flags, service, regexp, replacement, ttl)
            )
        case _:
            return f"{absolute(name)} {ttl} IN {record.type} {record.text}"


@rule(
    "ttl-short",
    Severity.WARNING,
    "RFC 1912 §2.2",
    Area.ANSWER,
    f"No TTL is below {SHORT_TTL} seconds",
)
def ttl_short(facts: Facts) -> Iterator[Finding]:
    """Nearly every call waits for the DNS, and fails when a nameserver does."""
    for question, (ttl, answer) in _ttls(facts).items():
        if ttl < SHORT_TTL:
            fix = Fix(publish=_lines(question, answer, 300), remove=_lines(question, answer, ttl))
            yield Finding(str(question), f"its TTL is {ttl} s", fix)


@rule(
    "ttl-long",
    Severity.NOTE,
    "RFC 1912 §2.2",
    Area.ANSWER,
    "No TTL is longer than a day",
)
def ttl_long(facts: Facts) -> Iterator[Finding]:
    """Callers go to the old server for that long after it has moved."""
    for question, (ttl, answer) in _ttls(facts).items():
        if ttl > LONG_TTL:
            fix = Fix(publish=_lines(question, answer, 3600), remove=_lines(question, answer, ttl))
            yield Finding(str(question), f"its TTL is {ttl} s", fix)


@rule(
    "ttl-mismatch",
    Severity.NOTE,
    "RFC 2181 §5.2",
    Area.ANSWER,
    "Records that work together have TTLs of one size",
)
def ttl_mismatch(facts: Facts) -> Iterator[Finding]:
    """After a change, callers go by some of the old records and some of the new ones.

    When A lives longer than AAAA, caches lose one family before the other.
    """
    ttls = _ttls(facts)
    pairs = [
        (Question(one.name, RecordType.A), Question(one.name, RecordType.AAAA))
        for one in ttls
        if one.type is RecordType.A
    ]
    srv = [one for one in ttls if one.type is RecordType.SRV]
    pairs += [(srv[0], other) for other in srv[1:]]
    for one, other in pairs:
        if one not in ttls or other not in ttls:
            continue
        short, long = sorted((one, other), key=lambda question: ttls[question][0])
        if ttls[long][0] >= MISMATCH * max(1, ttls[short][0]):
            ttl, answer = ttls[short]
            fix = Fix(
                publish=_lines(short, answer, ttls[long][0]), remove=_lines(short, answer, ttl)
            )
            yield Finding(
                str(short), f"its TTL is {ttl} s, that of {long} is {ttls[long][0]} s", fix
            )


@rule(
    "answer-needs-tcp",
    Severity.NOTE,
    "RFC 7766 §5",
    Area.ANSWER,
    "Answers fit into one datagram",
)
def answer_needs_tcp(facts: Facts) -> Iterator[Finding]:
    """Each lookup pays a truncated answer and a connection; callers without TCP get nothing."""
    if facts.surroundings.offline:
        raise NotTested("nothing is sent for a zone file")
    for question in _questions(facts):
        answer = facts.answer(question)
        if answer is not None and any(one.truncated for one in answer.attempts):
            size = answer.attempt.size if answer.attempt else 0
            yield Finding(
                str(question),
                f"{len(answer.records)} records in {size} bytes: truncated over UDP",
                Fix(advice="publish fewer records, or shorter names"),
            )


@rule(
    "tcp-refused",
    Severity.FAULT,
    "RFC 7766 §5",
    Area.ANSWER,
    "Nameservers answer over TCP",
)
def tcp_refused(facts: Facts) -> Iterator[Finding]:
    """What does not fit into a datagram, signatures among it, cannot be had from this server."""
    if facts.surroundings.offline:
        raise NotTested("nothing is sent for a zone file")
    servers: dict[Address, str] = {}
    if facts.surroundings.resolver is not None:
        servers[facts.surroundings.resolver] = "the resolver"
    for one in authorities(facts, facts.search.target):
        servers[one.address] = one.name
    if not servers:
        raise NotTested("no nameserver is known")
    for server, name in servers.items():
        recursive = server == facts.surroundings.resolver
        over_udp, over_tcp = (
            facts.attempt(
                Inquiry(facts.search.target, "SOA", server, over_tcp=over_tcp, recursive=recursive)
            )
            for over_tcp in (False, True)
        )
        if isinstance(over_udp, Reply) and isinstance(over_tcp, Failure):
            yield Finding(
                name,
                f"{server} answers over UDP and not over TCP: {over_tcp.reason}",
                Fix(advice="open TCP port 53 in the server and in the firewall before it"),
            )
        elif isinstance(over_udp, Failure) and isinstance(over_tcp, Failure):
            facts.miss(f"{server}: {over_udp.reason}")


@rule(
    "wildcard-srv",
    Severity.WARNING,
    "RFC 4592 §4.5",
    Area.ANSWER,
    "No wildcard answers for services that do not exist",
)
def wildcard_srv(facts: Facts) -> Iterator[Finding]:
    """It answers for every transport alike.

    Callers over TLS are sent to a server that may not speak it.
    """
    domain = facts.domain
    for protocol in ("_udp", "_tcp"):
        name = f"{PROBE_SERVICE}.{protocol}.{domain}"
        records = facts.srv(name)
        if records:
            owner = f"*.{protocol}.{domain}" if _differs(facts, protocol) else f"*.{domain}"
            yield Finding(
                name,
                f"a name that nobody published has SRV records: {records[0].target} "
                f"port {records[0].port}",
                Fix(
                    remove=tuple(srv_line(owner, one) for one in records),
                    advice="publish the services that exist by their names",
                ),
            )
    naptr = facts.naptr_of(f"{PROBE}.{domain}")
    if naptr:
        yield Finding(
            f"{PROBE}.{domain}",
            f'a name that nobody published has NAPTR records: "{naptr[0].service}"',
            Fix(remove=tuple(naptr_line(f"*.{domain}", one) for one in naptr)),
        )


def _differs(facts: Facts, protocol: str) -> bool:
    """Whether the wildcard of one protocol is not that of the whole domain."""
    other = "_tcp" if protocol == "_udp" else "_udp"
    here, there = (facts.srv(f"{PROBE_SERVICE}.{one}.{facts.domain}") for one in (protocol, other))
    return here != there


@rule(
    "wildcard-address",
    Severity.NOTE,
    "RFC 4592 §4.5",
    Area.ANSWER,
    "No wildcard gives addresses to hosts that do not exist",
)
def wildcard_address(facts: Facts) -> Iterator[Finding]:
    """A misspelt SRV target does not fail, it leads to the wildcard's host."""
    name = f"{PROBE}.{facts.domain}"
    found = facts.addresses(name)
    if found is not None and found.records:
        texts = ", ".join(one.address for one in found.records)
        yield Finding(
            name,
            f"a name that nobody published has addresses: {texts}",
            Fix(remove=tuple(address_line(f"*.{facts.domain}", one) for one in found.records)),
        )


@rule(
    "type-unanswered",
    Severity.WARNING,
    "RFC 4074 §4",
    Area.ANSWER,
    "Nameservers answer for every record type",
)
def type_unanswered(facts: Facts) -> Iterator[Finding]:
    """Callers wait for the answer that never comes before they go on."""
    if facts.surroundings.offline:
        raise NotTested("nothing is sent for a zone file")
    if facts.search.is_numeric:
        raise NotTested("the host is an address: nothing is asked of the DNS")
    failed: dict[Question, Failure] = {}
    answered: list[Question] = []
    questions = [Question(facts.search.target, one) for one in (RecordType.A, RecordType.AAAA)]
    if facts.search.port is None and not facts.search.is_numeric:
        questions.append(Question(facts.domain, RecordType.NAPTR))
        questions += [
            Question(f"{one.srv}.{facts.domain}", RecordType.SRV)
            for one in facts.services.values()
            if one.srv
        ]
    for question in questions:
        failure = facts.has_failed(question)
        if failure is None:
            answered.append(question)
        else:
            failed[question] = failure
    if failed and not answered:
        facts.miss(next(iter(failed.values())).reason)
    elif failed:
        names = ", ".join(map(str, failed))
        yield Finding(
            facts.search.target,
            f"other questions are answered, and these not: {names} "
            f"({next(iter(failed.values())).reason})",
            Fix(advice="nameservers must answer for types that they do not have, with no records"),
        )


@rule(
    "resolvers-disagree",
    Severity.WARNING,
    "RFC 1034 §4.3.1",
    Area.ANSWER,
    "All resolvers give the same answers",
)
def resolvers_disagree(facts: Facts) -> Iterator[Finding]:
    """Callers reach different servers by where they stand.

    That is a split horizon, a cache of an old zone, or a nameserver that was not updated.
    """
    compared = facts.surroundings.compared
    if len(compared) < 2:
        raise NotTested("only one resolver is asked; --compare names others")
    for question in _questions(facts):
        seen: dict[tuple[str, ...], list[Address]] = {}
        for server in compared:
            reply = facts.reply(Inquiry(question.name, question.type, server))
            if reply is not None:
                seen.setdefault(_content(reply, question), []).append(server)
        if len(seen) > 1:
            parts = [
                f"{', '.join(map(str, servers))}: {'; '.join(content)}"
                for content, servers in seen.items()
            ]
            yield Finding(
                str(question),
                " | ".join(parts),
                Fix(advice="wait for the TTLs, or bring the nameservers to one version"),
            )


def _content(reply: Reply, question: Question) -> tuple[str, ...]:
    """What a reply says of the question: all data of its type, whatever name an alias led to."""
    data = tuple(
        sorted(
            text
            for one in reply.sets
            if one.section == "answer" and one.type == question.type
            for text in one.data
        )
    )
    return data or (reply.rcode.lower() if reply.rcode != "NOERROR" else "no such record",)


RULES: Final = (
    ttl_short,
    ttl_long,
    ttl_mismatch,
    answer_needs_tcp,
    tcp_refused,
    wildcard_srv,
    wildcard_address,
    type_unanswered,
    resolvers_disagree,
)
