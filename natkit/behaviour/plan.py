"""What is to be found out, and which tests that takes, phase after phase."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from natkit.address import Address
from natkit.behaviour.collected import CONTIGUITY, OVERLOADING, Collected, Finding
from natkit.behaviour.filtering import filtering_behaviour
from natkit.behaviour.findings import Mapping
from natkit.behaviour.fragments import fragment_handling
from natkit.behaviour.hairpinning import hairpin_behaviour
from natkit.behaviour.lifetime import binding_lifetime
from natkit.behaviour.mapping import map_by_plain_servers, mapping_behaviour
from natkit.behaviour.neighbours import contiguity, overloading
from natkit.behaviour.ports import port_behaviour
from natkit.behaviour.reach import reach
from natkit.behaviour.sip_alg import sip_alg
from natkit.behaviour.steps import Script
from natkit.behaviour.votes import vote_on_mapping
from natkit.machine import RandomBytes, Transport
from natkit.stun.transaction import Timing

__all__ = ["LifetimeSearch", "Phase", "Plan", "Tests", "patient", "tests_of"]

VOTES: Final = 3
PATIENCE: Final = 8.0
"""Seconds: satellites and sleeping radios take two or three to answer."""

TOKEN_LENGTH: Final = 12
"""Bytes that nobody guesses."""


def patient(patience: float) -> Timing:
    """Ask six times within ``patience`` seconds before silence counts as silence."""
    # In units of the first interval: packets at 0, 1, 3, 7, 15 and 31, and nine for the last one.
    rto = patience / 40
    return Timing(
        rto=rto,
        maximum_rto=max(rto, 1.0),
        request_count=6,
        last_wait=9,
        reliable_timeout=patience,
    )


@dataclass(frozen=True, slots=True)
class LifetimeSearch:
    """Between which silences to search, and for how long; all in seconds."""

    shortest: float = 10.0
    longest: float = 600.0
    limit: float = 1800.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to find out, from which of the host's addresses and by which servers.

    ``patience`` is how many seconds of silence are silence.  ``hairpin`` is for those who ask for
    it: some firewalls take a packet to one's own address for an attack.  ``second_host`` is another
    address of this host behind the same NAT; ``sip_servers`` are asked by OPTIONS.
    """

    local_host: str
    servers: tuple[Address, ...]
    votes: int = VOTES
    patience: float = PATIENCE
    hairpin: bool = False
    fragments: bool = False
    lifetime: LifetimeSearch | None = None
    tcp: bool = False
    second_host: str | None = None
    sip_servers: tuple[Address, ...] = ()


class Phase(IntEnum):
    """What runs side by side; what could disturb one another runs apart."""

    REACH = 0
    PORTS = 1
    NEIGHBOURS = 2
    BEHAVIOUR = 3
    PLAIN = 4
    SIP = 5
    HAIRPIN = 6
    LIFETIME = 7
    OVER = 8


Tests = list[tuple[str, Script[Finding]]]


def tests_of(phase: Phase, plan: Plan, found: Collected, random: RandomBytes) -> Tests:
    """The tests of one phase, by what the phases before it found."""
    host = plan.local_host
    if phase is Phase.REACH:
        return [(f"reaching {each}", reach(host, each, plan.patience / 4)) for each in plan.servers]
    answering = [server for server in plan.servers if found.answers(server)]
    able = [server for server in answering if found.reach[server].discovers]
    if not answering:
        return []
    best = (able or answering)[0]
    match phase:
        case Phase.PORTS:
            return [("ports", port_behaviour(host, answering[0]))]
        case Phase.NEIGHBOURS:
            tests: Tests = [(CONTIGUITY, contiguity(host, answering[0]))]
            if plan.second_host is not None:
                tests.append((OVERLOADING, overloading(host, plan.second_host, best)))
            return tests
        case Phase.BEHAVIOUR:
            return _behaviour_tests(plan, able, answering)
        case Phase.PLAIN:
            return _plain_tests(plan, answering, found)
        case Phase.SIP:
            return [
                (f"SIP to {each}", sip_alg(host, each, best, random(TOKEN_LENGTH).hex()))
                for each in plan.sip_servers
            ]
        case Phase.HAIRPIN if plan.hairpin:
            return [("hairpinning", hairpin_behaviour(host, answering[0]))]
        case Phase.LIFETIME if plan.lifetime is not None:
            wish = plan.lifetime
            search = binding_lifetime(
                host, best, shortest=wish.shortest, longest=wish.longest, limit=wish.limit
            )
            return [("lifetime", search)]
        case _:
            return []


def _behaviour_tests(plan: Plan, able: list[Address], answering: list[Address]) -> Tests:
    host = plan.local_host
    tests: Tests = []
    # Each vote by another server, as far as there are several.
    for number in range(plan.votes if able else 0):
        server = able[number % len(able)]
        tests.append(("mapping", mapping_behaviour(host, server)))
        tests.append(("filtering", filtering_behaviour(host, server)))
    if plan.tcp:
        servers = able or answering
        for number in range(plan.votes):
            server = servers[number % len(servers)]
            tests.append(("mapping of TCP", mapping_behaviour(host, server, Transport.TCP)))
    if plan.fragments:
        tests.append(("fragments", fragment_handling(host, (able or answering)[0])))
    return tests


def _plain_tests(plan: Plan, answering: list[Address], found: Collected) -> Tests:
    """What the first round left open, by any servers there are."""
    if vote_on_mapping(found.mappings).kind is not Mapping.UNKNOWN:
        return []
    found.mappings.clear()
    host = plan.local_host
    return [("mapping", map_by_plain_servers(host, answering)) for _ in range(plan.votes)]
