"""Which servers a zone is delegated to, as its parent and as it says itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from sipdns.diagnosis.facts import Facts
from sipdns.diagnosis.finding import NotTested
from sipdns.records import OtherRecord, Question, RecordType, Status

__all__ = ["Authority", "apex_of", "authorities", "authorities_of", "nameservers", "same_zone"]

MOST_LABELS: Final = 12
"""Labels that the search for the apex goes up; service names have five."""

MOST_NAMESERVERS: Final = 13
"""As many as the root has."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A nameserver of a zone at one of its addresses."""

    name: str
    address: Address


def apex_of(facts: Facts, name: str) -> str | None:
    """The name of the zone that ``name`` is in; None when it is unknown."""
    if facts.surroundings.offline:
        raise NotTested("a zone file does not say how the zone is served")
    if facts.search.is_numeric:
        raise NotTested("the host is an address: nothing is asked of the DNS")
    labels = name.split(".")
    for start in range(min(len(labels), MOST_LABELS)):
        candidate = ".".join(labels[start:])
        answer = facts.answer(Question(candidate, RecordType.SOA))
        if answer is None:
            return None
        if answer.status is Status.RECORDS and not answer.aliases:
            return candidate
    return "."


def same_zone(facts: Facts, name: str) -> bool:
    """Whether a name is in the zone of the URI's domain, as far as names tell."""
    apex = apex_of(facts, facts.search.target)
    return apex is not None and f".{name}".endswith("." if apex == "." else f".{apex}")


def nameservers(facts: Facts, apex: str) -> tuple[str, ...] | None:
    """The names of a zone's servers, as a resolver finds them; None when unknown."""
    answer = facts.answer(Question(apex, RecordType.NS))
    if answer is None:
        return None
    names = (one.text for one in answer.records if isinstance(one, OtherRecord))
    return tuple(sorted(one.removesuffix(".").lower() for one in names))


def authorities(facts: Facts, name: str) -> Sequence[Authority]:
    """The servers of the zone that ``name`` is in."""
    apex = apex_of(facts, name)
    return () if apex is None else authorities_of(facts, apex)


def authorities_of(facts: Facts, apex: str) -> Sequence[Authority]:
    """The servers of a zone, each at each of its addresses."""
    found = []
    for name in (nameservers(facts, apex) or ())[:MOST_NAMESERVERS]:
        addresses = facts.addresses(name)
        for record in addresses.records if addresses else ():
            port = facts.surroundings.authority_port
            found.append(Authority(name, Address.of(record.address, port)))
    return found
