"""What the tests of one plan found so far, and the report that comes of it."""

from natkit.address import Address
from natkit.behaviour.findings import (
    Fact,
    Filtering,
    FilteringFinding,
    HairpinFinding,
    LifetimeFinding,
    Mapping,
    MappingFinding,
    PortFinding,
    PortRule,
)
from natkit.behaviour.fragments import FragmentFinding
from natkit.behaviour.reach import ReachFinding
from natkit.behaviour.report import Report
from natkit.behaviour.sip_alg import SipAlgFinding, addresses_in_payload
from natkit.behaviour.votes import vote_on_filtering, vote_on_mapping
from natkit.machine import Transport

__all__ = ["CONTIGUITY", "OVERLOADING", "Collected", "Finding"]

CONTIGUITY = "contiguity"
OVERLOADING = "overloading"
"""The names of the tests that find nothing but a Fact."""

Finding = (
    Fact
    | ReachFinding
    | MappingFinding
    | FilteringFinding
    | PortFinding
    | HairpinFinding
    | LifetimeFinding
    | FragmentFinding
    | SipAlgFinding
)


class Collected:
    """Findings by their kinds; those of which there are several are voted on in the end."""

    def __init__(self) -> None:
        self.reach: dict[Address, ReachFinding] = {}
        self.mappings: list[MappingFinding] = []
        self._tcp_mappings: list[MappingFinding] = []
        self._filterings: list[FilteringFinding] = []
        self._ports = PortFinding(PortRule.UNKNOWN, 0.0, ("no server answers",))
        self._facts: dict[str, Fact] = {}
        self._sip: list[SipAlgFinding] = []
        self._hairpin: HairpinFinding | None = None
        self._lifetime: LifetimeFinding | None = None
        self._fragments: FragmentFinding | None = None

    def keep(self, name: str, finding: Finding) -> None:
        """Add what the test of this name found."""
        match finding:
            case Fact():
                self._facts[name] = finding
            case ReachFinding():
                self.reach[finding.server] = finding
            case MappingFinding():
                by_tcp = finding.transport is Transport.TCP
                (self._tcp_mappings if by_tcp else self.mappings).append(finding)
            case FilteringFinding():
                self._filterings.append(finding)
            case PortFinding():
                self._ports = finding
            case HairpinFinding():
                self._hairpin = finding
            case LifetimeFinding():
                self._lifetime = finding
            case FragmentFinding():
                self._fragments = finding
            case SipAlgFinding():
                self._sip.append(finding)

    def answers(self, server: Address) -> bool:
        """Whether this server does."""
        found = self.reach.get(server)
        return found is not None and found.answers

    def report(self, local_host: str, servers: tuple[Address, ...]) -> Report:
        """All of it, with what the servers that were asked for came to."""
        filtering = vote_on_filtering(self._filterings)
        if not self._filterings:
            why = "no server answers"
            if any(found.answers for found in self.reach.values()):
                why = "no server has another address to answer from (RFC 5780)"
            filtering = FilteringFinding(Filtering.UNKNOWN, 0.0, (why,))
        mapping = vote_on_mapping(self.mappings)
        if not self.mappings:
            mapping = MappingFinding(Mapping.UNKNOWN, 0.0, ("no server answers",))
        reached = tuple(self.reach[server] for server in servers)
        return Report(
            local_host,
            reached,
            mapping,
            filtering,
            self._ports,
            self._hairpin,
            self._lifetime,
            self._fragments,
            tcp_mapping=vote_on_mapping(self._tcp_mappings) if self._tcp_mappings else None,
            contiguity=self._facts.get(CONTIGUITY),
            overloading=self._facts.get(OVERLOADING),
            rewritten=addresses_in_payload(
                [
                    (each.server, each.mapped, each.plain)
                    for each in reached
                    if each.mapped is not None
                ]
            ),
            sip=tuple(self._sip),
        )
