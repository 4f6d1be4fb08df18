"""Rules about the zone's delegation and its nameservers."""

from collections.abc import Iterator
from typing import Final

from natkit.machine import Failure
from sipdns.diagnosis.authority import Authority, apex_of, authorities_of, nameservers
from sipdns.diagnosis.facts import Facts
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.record_lines import absolute
from sipdns.diagnosis.reply import Inquiry, Reply

__all__ = ["RULES"]


def _zone(facts: Facts) -> tuple[str, tuple[str, ...]]:
    """The zone and the names of its servers, none while they are unknown."""
    apex = apex_of(facts, facts.search.target)
    if apex is None:
        return facts.search.target, ()
    names = nameservers(facts, apex)
    if names == ():
        raise NotTested(f"{apex} has no NS records")
    return apex, names or ()


@rule(
    "lame-delegation",
    Severity.FAULT,
    "RFC 1912 §2.8",
    Area.DELEGATION,
    "Every nameserver of the zone answers with authority for it",
)
def lame_delegation(facts: Facts) -> Iterator[Finding]:
    """Resolvers that come by this server get nothing there, and have to ask another."""
    apex, _ = _zone(facts)
    for server, reply in _soa(facts, apex):
        if isinstance(reply, Reply) and not (reply.rcode == "NOERROR" and reply.authoritative):
            if reply.rcode != "NOERROR":
                said = reply.rcode
            else:
                said = "an answer without authority" if reply.sets else "nothing"
            yield Finding(
                server.name,
                f"asked for {apex}, {server.address} says {said}",
                Fix(
                    remove=(f"{absolute(apex)} IN NS {absolute(server.name)}",),
                    advice="or make the server serve the zone",
                ),
            )


@rule(
    "nameserver-silent",
    Severity.WARNING,
    "RFC 2182 §3",
    Area.DELEGATION,
    "Every nameserver of the zone is reached",
)
def nameserver_silent(facts: Facts) -> Iterator[Finding]:
    """Resolvers wait for it before they ask another."""
    apex, _ = _zone(facts)
    replies = _soa(facts, apex)
    silent = [(server, reply) for server, reply in replies if isinstance(reply, Failure)]
    if silent and not any(isinstance(reply, Reply) for _, reply in replies):
        # Nothing is known about the servers then: it may be our own way out that is closed.
        facts.miss(f"no nameserver of {apex} answers us: {silent[0][1].reason}")
        return
    for server, reply in silent:
        yield Finding(
            server.name,
            f"{server.address}: {reply.reason}",
            Fix(
                remove=(f"{absolute(apex)} IN NS {absolute(server.name)}",),
                advice="or bring the server back",
            ),
        )


def _soa(facts: Facts, apex: str) -> list[tuple[Authority, Reply | Failure]]:
    found = []
    for server in authorities_of(facts, apex):
        reply = facts.attempt(Inquiry(apex, "SOA", server.address, recursive=False))
        if reply is not None:
            found.append((server, reply))
    return found


@rule(
    "nameserver-no-address",
    Severity.FAULT,
    "RFC 1912 §2.8",
    Area.DELEGATION,
    "Every nameserver of the zone has an address",
)
def nameserver_no_address(facts: Facts) -> Iterator[Finding]:
    """Nobody can ask it."""
    apex, names = _zone(facts)
    for name in names:
        found = facts.addresses(name)
        if found is not None and not found.records:
            yield Finding(
                name,
                f"a nameserver of {apex} that has neither A nor AAAA",
                Fix(remove=(f"{absolute(apex)} IN NS {absolute(name)}",)),
            )


@rule(
    "single-nameserver",
    Severity.NOTE,
    "RFC 2182 §5",
    Area.DELEGATION,
    "The zone has more than one nameserver",
)
def single_nameserver(facts: Facts) -> Iterator[Finding]:
    """When it is down nobody finds the SIP servers, however many there are."""
    apex, names = _zone(facts)
    if len(names) == 1:
        yield Finding(
            apex, f"its only nameserver is {names[0]}", Fix(advice="add one in another network")
        )


@rule(
    "delegation-mismatch",
    Severity.WARNING,
    "RFC 1034 §4.2.2",
    Area.DELEGATION,
    "The parent zone and the zone name the same nameservers",
)
def delegation_mismatch(facts: Facts) -> Iterator[Finding]:
    """Resolvers use the one set or the other, so one of them may be an old one."""
    apex, names = _zone(facts)
    if not names:
        return
    if apex == "." or "." not in apex:
        raise NotTested("top-level domains are left alone")
    parent = apex_of(facts, apex.partition(".")[2])
    if parent is None:
        return
    own = _own(facts, apex)
    delegated = _delegated(facts, parent, apex)
    if own is None or delegated is None or own == delegated:
        return
    more = [f"{absolute(apex)} IN NS {absolute(one)}" for one in sorted(own - delegated)]
    fewer = [f"{absolute(apex)} IN NS {absolute(one)}" for one in sorted(delegated - own)]
    yield Finding(
        apex,
        f"its parent says {', '.join(sorted(delegated))}, the zone {', '.join(sorted(own))}",
        Fix(
            publish=tuple(more),
            remove=tuple(fewer),
            advice="in the parent zone, by the registrar; or change the zone",
        ),
    )


def _own(facts: Facts, apex: str) -> set[str] | None:
    """The NS records that the zone's own servers have."""
    for server in authorities_of(facts, apex):
        reply = facts.attempt(Inquiry(apex, "NS", server.address, recursive=False))
        if isinstance(reply, Reply) and reply.authoritative:
            return _names(reply, apex, "answer")
    return None


def _delegated(facts: Facts, parent: str, apex: str) -> set[str] | None:
    """The NS records by which the parent's servers refer to the zone; None when they serve both."""
    servers = authorities_of(facts, parent)
    failure = ""
    for server in servers:
        reply = facts.attempt(Inquiry(apex, "NS", server.address, recursive=False))
        if isinstance(reply, Reply):
            if reply.authoritative and reply.find(apex, "NS"):
                raise NotTested("the servers of the parent zone serve the zone itself as well")
            if found := _names(reply, apex, "authority"):
                return found
        elif isinstance(reply, Failure):
            failure = reply.reason
    if failure:
        facts.miss(f"no nameserver of {parent} answers us: {failure}")
    return None


def _names(reply: Reply, apex: str, section: str) -> set[str]:
    found = reply.find(apex, "NS", section)
    return {one.removesuffix(".").lower() for one in found.data} if found else set()


@rule(
    "nameservers-disagree",
    Severity.WARNING,
    "RFC 1034 §4.3.5",
    Area.DELEGATION,
    "All nameservers of the zone have the same version of it",
)
def nameservers_disagree(facts: Facts) -> Iterator[Finding]:
    """Callers reach different servers by which of them their resolver asked."""
    apex, _ = _zone(facts)
    versions: dict[str, list[str]] = {}
    for server, reply in _soa(facts, apex):
        found = reply.find(apex, "SOA") if isinstance(reply, Reply) else None
        if found is not None:
            serial = found.data[0].split()[2]
            versions.setdefault(serial, []).append(f"{server.name} ({server.address})")
    if len(versions) > 1:
        parts = [f"{', '.join(servers)}: serial {one}" for one, servers in versions.items()]
        yield Finding(apex, "; ".join(parts), Fix(advice="see why the transfer of the zone fails"))


RULES: Final = (
    lame_delegation,
    nameserver_silent,
    nameserver_no_address,
    single_nameserver,
    delegation_mismatch,
    nameservers_disagree,
)
