"""Rules about the hosts that serve a domain, and their addresses."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sipdns.diagnosis.facts import AddressSet, Facts
from sipdns.diagnosis.finding import Area, Finding, Fix, NotTested, Severity, rule
from sipdns.diagnosis.record_lines import absolute, alias_line
from sipdns.records import OtherRecord, Question, RecordType

__all__ = ["RULES"]

LONGEST_ALIAS_CHAIN: Final = 8
"""CNAMEs that a lookup follows."""

SHORT_ALIAS_CHAIN: Final = 2
"""One to the provider, one within it."""

_DOCUMENTATION: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    )
)
"""RFC 5737, 3849, 9637: in examples they stand for addresses of the Internet."""


def _hosts(facts: Facts) -> list[AddressSet]:
    """The hosts that have addresses."""
    found = [facts.addresses(host) for host in facts.hosts()]
    known = [one for one in found if one is not None and one.records]
    if not known:
        raise NotTested("no host has an address")
    return known


@rule(
    "single-point-of-failure",
    Severity.NOTE,
    "RFC 3263 §4.3",
    Area.ADDRESS,
    "More than one server is there to fail over to",
)
def single_point_of_failure(facts: Facts) -> Iterator[Finding]:
    """When the one server is down, a caller has no other to try."""
    hosts = _hosts(facts)
    addresses = {record.address for one in hosts for record in one.records}
    by_family = {":" in one for one in addresses}
    if len(addresses) > len(by_family):
        return
    # One IPv4 and one IPv6 address are one machine, unless they are of two hosts.
    if len(hosts) > 1 and len(addresses) > 1:
        return
    names = ", ".join(one.host for one in hosts)
    text = ", ".join(sorted(addresses))
    if len(hosts) > 1:
        evidence = f"{names} have one address between them: {text}"
    else:
        evidence = f"all calls go to {names} at {text}"
    yield Finding(
        facts.search.target, evidence, Fix(advice="publish a second server, as an SRV record")
    )


@rule(
    "one-family",
    Severity.NOTE,
    "RFC 6157 §3",
    Area.ADDRESS,
    "Servers have both IPv4 and IPv6 addresses",
)
def one_family(facts: Facts) -> Iterator[Finding]:
    """Callers of the other family reach the server by a translator, or not at all."""
    hosts = _hosts(facts)
    families = {one.host: {":" in record.address for record in one.records} for one in hosts}
    all_families = {family for found in families.values() for family in found}
    if len(all_families) == 1:
        has, lacks = ("IPv6", "A") if True in all_families else ("IPv4", "AAAA")
        yield Finding(
            facts.search.target,
            f"all servers have {has} addresses only",
            Fix(advice=f"publish {lacks} records of {', '.join(map(absolute, families))}"),
        )
        return
    for host, found in families.items():
        if len(found) == 1:
            has, lacks = ("IPv6", "A") if True in found else ("IPv4", "AAAA")
            yield Finding(
                host,
                f"it has {has} addresses only, unlike other servers",
                Fix(advice=f"publish {lacks} records of {absolute(host)}"),
            )


@rule(
    "address-not-global",
    Severity.NOTE,
    "RFC 6890 §2.2",
    Area.ADDRESS,
    "Servers have addresses that are reached from everywhere",
)
def address_not_global(facts: Facts) -> Iterator[Finding]:
    """Callers from outside try it in vain, and wait.

    Inside the network that it belongs to, in a view of its own, it is as it should be.
    """
    for one in _hosts(facts):
        for record in one.records:
            address = ipaddress.ip_address(record.address)
            documented = any(
                address.version == network.version and address in network
                for network in _DOCUMENTATION
            )
            if not documented and not address.is_global:
                yield Finding(
                    one.host,
                    f"{record.address} is of a special-purpose range",
                    Fix(advice="keep it to the view of those who can reach it"),
                )


@rule(
    "alias-chain",
    Severity.FAULT,
    "RFC 1034 §3.6.2",
    Area.ADDRESS,
    "Chains of CNAMEs come to an end",
)
def alias_chain(facts: Facts) -> Iterator[Finding]:
    """Resolvers give up on a loop and on a chain that is too long; the caller gets no answer."""
    for name, types in _names(facts).items():
        if not any(facts.has_failed(Question(name, one)) for one in types):
            continue
        path = [name]
        while (target := _alias_of(facts, path[-1])) is not None:
            path.append(target)
            is_loop = target in path[:-1]
            if is_loop or len(path) > LONGEST_ALIAS_CHAIN + 1:
                line = f"{absolute(path[-2])} IN CNAME {absolute(target)}"
                yield Finding(
                    name,
                    f"{'a loop' if is_loop else 'too many CNAMEs'}: {' → '.join(path)}",
                    Fix(remove=(line,), advice=f"publish the records of {absolute(name)} there"),
                )
                break


@rule(
    "alias-chain-long",
    Severity.WARNING,
    "RFC 1034 §3.6.2",
    Area.ADDRESS,
    "Chains of CNAMEs are short",
)
def alias_chain_long(facts: Facts) -> Iterator[Finding]:
    """Each link may cost a query, and each of its zones can break it; some resolvers stop early."""
    for name, types in _names(facts).items():
        for type_ in types:
            answer = facts.answer(Question(name, type_))
            if answer is not None and len(answer.aliases) > SHORT_ALIAS_CHAIN:
                path = " → ".join((name, *answer.aliases))
                first = answer.cnames[0]
                yield Finding(
                    name,
                    f"{len(answer.aliases)} CNAMEs: {path}",
                    Fix(
                        publish=(alias_line(replace(first, target=answer.aliases[-1])),),
                        remove=(alias_line(first),),
                    ),
                )
                break


def _names(facts: Facts) -> dict[str, tuple[RecordType, ...]]:
    """The names that a caller's lookup asks for, with the types."""
    names: dict[str, tuple[RecordType, ...]] = {}
    if not facts.search.is_numeric and facts.search.port is None:
        for one in facts.services.values():
            if one.srv:
                names[f"{one.srv}.{facts.domain}"] = (RecordType.SRV,)
    for host in facts.hosts():
        names[host] = (RecordType.A, RecordType.AAAA)
    return names


def _alias_of(facts: Facts, name: str) -> str | None:
    answer = facts.answer(Question(name, RecordType.CNAME))
    texts = [one.text for one in answer.records if isinstance(one, OtherRecord)] if answer else []
    return texts[0].removesuffix(".").lower() if texts else None


RULES: Final = (
    single_point_of_failure,
    one_family,
    address_not_global,
    alias_chain,
    alias_chain_long,
)
