"""All that the tests of one address family found, and what follows from it."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from natkit.address import Address
from natkit.behaviour.findings import (
    Fact,
    FilteringFinding,
    HairpinFinding,
    LifetimeFinding,
    Mapping,
    MappingFinding,
    PortFinding,
)
from natkit.behaviour.fragments import FragmentFinding
from natkit.behaviour.reach import ReachFinding
from natkit.behaviour.sip_alg import SipAlgFinding
from natkit.behaviour.verdict import PEERS, Peer, Way, way_to

__all__ = ["LayerFinding", "Report", "layers"]

CARRIER_NETWORK: Final = ip_network("100.64.0.0/10")
"""What carriers use between their NAT and their customers' (RFC 6598)."""

CLAT_NETWORK: Final = ip_network("192.0.0.0/29")
"""What a host calls itself whose IPv4 is carried over a NAT64 (464XLAT; RFC 7335)."""

_NOT_TOLD: Final = Fact.unknown("no server answers")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found from ``local_host``.

    Hairpinning, lifetime, fragments, the mapping of TCP, overloading and contiguity are None when
    they were not tested.  ``rewritten``: whether addresses in packets are (RFC 5780 §3.6); ``sip``
    tells the same of SIP, for each server that was asked.
    """

    local_host: str
    servers: tuple[ReachFinding, ...]
    mapping: MappingFinding
    filtering: FilteringFinding
    ports: PortFinding
    hairpin: HairpinFinding | None = None
    lifetime: LifetimeFinding | None = None
    fragments: FragmentFinding | None = None
    tcp_mapping: MappingFinding | None = None
    contiguity: Fact | None = None
    overloading: Fact | None = None
    rewritten: Fact = _NOT_TOLD
    sip: tuple[SipAlgFinding, ...] = ()

    @property
    def udp_passes(self) -> bool:
        """Whether any server answers; when none does, servers may be down just as well."""
        return any(server.answers for server in self.servers)

    @property
    def mapped(self) -> Address | None:
        """An address that a server saw."""
        seen = (server.mapped for server in self.servers if server.mapped is not None)
        return next(seen, self.mapping.mapped)

    @property
    def as_peer(self) -> Peer:
        """This side, for the verdict."""
        return Peer("this host", self.mapping.kind, self.filtering.kind)

    def verdict(self, *, udp_blocked: bool = False) -> tuple[tuple[Peer, Way], ...]:
        """How each kind of peer is reached; ``udp_blocked``: its servers answer by TCP alone."""
        here = self.as_peer
        if udp_blocked:
            here = Peer(here.name, here.mapping, here.filtering, reaches=False)
        return tuple((peer, way_to(here, peer)) for peer in PEERS)


@dataclass(frozen=True, slots=True)
class LayerFinding:
    """How many NATs are on the way, at least; and whether one of them is the carrier's.

    ``carrier`` is None when nothing shows it, which is no proof that there is none.
    """

    at_least: int
    carrier: bool | None
    evidence: tuple[str, ...]


def layers(report: Report, gateway_external: str | None = None) -> LayerFinding:
    """Compare the addresses here, at the gateway (by its own word, if it was asked) and outside."""
    seen = report.mapped
    if seen is None or (report.mapping.kind is Mapping.UNKNOWN and not report.udp_passes):
        return LayerFinding(0, None, ("no server says how it sees this host",))
    local = report.local_host
    if seen.host == local:
        return LayerFinding(0, False, (f"{local} is the address that servers see",))
    evidence = [f"{local} here, {seen.host} for servers"]
    if _is_in(local, CLAT_NETWORK):
        evidence.append(f"{local} is translated here, and by a NAT64 again (464XLAT, RFC 6877)")
        return LayerFinding(2, True, tuple(evidence))
    if _is_in(local, CARRIER_NETWORK):
        evidence.append(f"{local} is of a carrier's network (RFC 6598)")
        return LayerFinding(1, True, tuple(evidence))
    if gateway_external is None:
        return LayerFinding(1, None, tuple(evidence))
    if gateway_external == seen.host:
        evidence.append(f"the gateway has {gateway_external} itself")
        return LayerFinding(1, False, tuple(evidence))
    evidence.append(f"the gateway is {gateway_external} outside, behind another NAT")
    if _is_in(gateway_external, CARRIER_NETWORK):
        evidence.append(f"{gateway_external} is of a carrier's network (RFC 6598)")
        return LayerFinding(2, True, tuple(evidence))
    return LayerFinding(2, None, tuple(evidence))


def _is_in(host: str, network: IPv4Network | IPv6Network) -> bool:
    address = ip_address(host.partition("%")[0])
    return address.version == network.version and address in network
