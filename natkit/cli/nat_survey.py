"""What ``natkit nat`` looks at beside the tests of one family: TCP, the gateway, a TURN server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Network
from typing import Final

from natkit.address import Address, Family
from natkit.aio.behaviour import measure_path_mtu, run_test
from natkit.aio.portmap import MappingRefused, map_on, open_gateway
from natkit.aio.stun import examine
from natkit.aio.turn import allocate
from natkit.aio.udp import bind_udp, source_address
from natkit.behaviour import (
    WELL_KNOWN_NAME,
    Fact,
    Filtering,
    LayerFinding,
    MappedPortFinding,
    Mapping,
    PathMtuFinding,
    Peer,
    Report,
    Way,
    embed,
    layers,
    mapped_port_works,
    prefixes_of,
    reach,
)
from natkit.behaviour.path_mtu import LARGEST
from natkit.cli.findings import explain
from natkit.errors import LocateError, NatkitError, UnreachableError
from natkit.locate import Locator
from natkit.net.gateways import Gateway
from natkit.net.local_addresses import LocalAddress, local_addresses
from natkit.portmap import Protocol, Wish

__all__ = [
    "FamilySurvey",
    "GatewaySurvey",
    "Nat64Survey",
    "Survey",
    "TurnSurvey",
    "ask_by_tcp",
    "survey_family",
    "survey_gateway",
    "survey_nat64",
    "survey_path_mtu",
    "survey_turn",
]

MAPPED_FOR: Final = 120
"""Seconds to ask a mapping for that is removed at once: should we die, it goes by itself."""

DISCARD_PORT: Final = 9
"""A port, so that the DNS is asked for addresses alone; nothing is sent there."""


@dataclass(frozen=True, slots=True)
class FamilySurvey:
    """One address family; ``by_tcp`` are the servers that answer over TCP, None if not asked."""

    family: Family
    report: Report
    by_tcp: tuple[Address, ...] | None
    layers: LayerFinding
    path_mtu: PathMtuFinding | None = None

    @property
    def udp_blocked(self) -> bool | None:
        """Whether UDP does not pass; None where no server answers either way."""
        if self.report.udp_passes:
            return False
        return True if self.by_tcp else None

    @property
    def verdict(self) -> tuple[tuple[Peer, Way], ...]:
        """How each kind of peer is reached."""
        return self.report.verdict(udp_blocked=self.udp_blocked is True)

    @property
    def knows_mapping(self) -> bool:
        """Whether the tests came to a result."""
        return self.report.mapping.kind is not Mapping.UNKNOWN

    @property
    def is_hard(self) -> bool:
        """Whether the mapping depends on the destination."""
        kind = self.report.mapping.kind
        return kind not in (Mapping.NONE, Mapping.ENDPOINT_INDEPENDENT, Mapping.UNKNOWN)


@dataclass(frozen=True, slots=True)
class GatewaySurvey:
    """What the gateway said, and whether its mapping does what it says."""

    gateway: str | None
    methods: dict[str, str]
    external: Address | None
    works: bool | None
    evidence: str


@dataclass(frozen=True, slots=True)
class TurnSurvey:
    """A relayed address, or why there is none."""

    uri: str
    relayed: Address | None
    error: NatkitError | None


@dataclass(frozen=True, slots=True)
class Nat64Survey:
    """The prefixes that the DNS shows, and whether a server of IPv4 answers behind one of them."""

    prefixes: tuple[IPv6Network, ...]
    works: Fact
    mapped: Address | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """All of it; what was not asked for is None."""

    interfaces: tuple[LocalAddress, ...]
    gateways: tuple[Gateway, ...]
    families: tuple[FamilySurvey, ...]
    gateway: GatewaySurvey | None
    turn: TurnSurvey | None
    nat64: Nat64Survey | None = None


async def ask_by_tcp(servers: Sequence[Address], patience: float) -> tuple[Address, ...]:
    """Those of the servers that answer over TCP."""

    async def ask(server: Address) -> bool:
        try:
            await examine(server, tcp=True, timeout=patience)
        except NatkitError:
            return False
        return True

    answers = await asyncio.gather(*map(ask, servers))
    return tuple(server for server, answered in zip(servers, answers, strict=True) if answered)


async def survey_gateway(
    report: Report | None, gateway: str | None, patience: float
) -> GatewaySurvey:
    """Have the gateway map a port for a moment, and see whether strangers get in by it."""
    try:
        async with open_gateway(gateway=gateway) as opened:
            await opened.probe()
            methods = {method.value: said for method, said in opened.answers.items()}
            seen = GatewaySurvey(opened.gateway, methods, None, None, "it maps nothing")
            if not any(said.startswith("yes") for said in methods.values()):
                return replace(seen, works=False)
            local = _free_port(opened.local_host)
            wish = Wish(Protocol.UDP, local.port, lifetime=MAPPED_FOR)
            try:
                async with map_on(opened, wish) as mapped:
                    found = await _try_mapping(report, local, mapped.external, patience)
                    return GatewaySurvey(
                        opened.gateway, methods, mapped.external, found.works, found.evidence
                    )
            except MappingRefused as error:
                return replace(seen, works=False, evidence=str(error))
    except UnreachableError as error:
        return GatewaySurvey(gateway, {}, None, None, str(error))


async def _try_mapping(
    report: Report | None, local: Address, external: Address, patience: float
) -> MappedPortFinding:
    server = None
    if report is not None:
        server = next((each.server for each in report.servers if each.discovers), None)
    if report is None or server is None:
        return MappedPortFinding(None, "no server has another address to try it from")
    if report.filtering.kind is Filtering.ENDPOINT_INDEPENDENT:
        return MappedPortFinding(None, "everybody gets in without it")
    return await run_test(mapped_port_works(local, external, server), patience)


def _free_port(host: str) -> Address:
    with bind_udp(Address(host, 0)) as sock:
        port: int = sock.getsockname()[1]
    return Address(host, port)


async def survey_turn(
    uri: str, user: str, password: str, locator: Locator, patience: float
) -> TurnSurvey:
    """Get an allocation and give it back."""
    try:
        async with allocate(
            uri, username=user, password=password, locator=locator, timeout=patience
        ) as allocation:
            return TurnSurvey(uri, allocation.relayed_address, None)
    except NatkitError as error:
        return TurnSurvey(uri, None, explain(error, uri))


async def survey_nat64(
    servers: Sequence[Address], locator: Locator, patience: float
) -> Nat64Survey:
    """Ask the DNS for the address that nobody has, and a server of IPv4 through what it shows."""
    try:
        found = await locator.locate(f"stun:{WELL_KNOWN_NAME}:{DISCARD_PORT}")
    except LocateError as error:
        return Nat64Survey((), Fact.unknown(f"the DNS does not tell: {error}"))
    prefixes = prefixes_of(target.address.host for target in found)
    if not prefixes:
        line = f"the DNS makes no IPv6 address of {WELL_KNOWN_NAME}: it is no DNS64"
        return Nat64Survey((), Fact.unknown(line))
    by_ipv4 = [server for server in servers if server.family is Family.IPV4]
    if not by_ipv4:
        return Nat64Survey(prefixes, Fact.unknown("no server has an IPv4 address to ask"))
    silent: list[str] = []
    for prefix in prefixes:
        there = Address(embed(prefix, by_ipv4[0].host), by_ipv4[0].port)
        try:
            local = source_address(there)
        except UnreachableError as error:
            silent.append(str(error))
            continue
        answer = await run_test(reach(local.host, there, patience / 4), patience)
        if answer.mapped is not None:
            line = f"{by_ipv4[0]} answers as {there}, and sees {answer.mapped}"
            return Nat64Survey(
                prefixes, Fact(holds=True, confidence=1.0, evidence=(line,)), answer.mapped
            )
        silent.append(f"{by_ipv4[0]} does not answer as {there}")
    return Nat64Survey(prefixes, Fact(holds=False, confidence=1.0, evidence=tuple(silent)))


async def survey_path_mtu(report: Report, patience: float) -> PathMtuFinding:
    """Measure it to the first server that answers."""
    server = next((each.server for each in report.servers if each.answers), None)
    if server is None:
        return PathMtuFinding(None, None, ("no server answers",))
    links = [each.mtu for each in local_addresses() if each.host == report.local_host]
    largest = next((mtu for mtu in links if mtu is not None), LARGEST)
    try:
        return await measure_path_mtu(report.local_host, server, patience, largest)
    except UnreachableError as error:
        return PathMtuFinding(None, None, (str(error),))


def survey_family(
    report: Report,
    by_tcp: tuple[Address, ...] | None,
    gateway: GatewaySurvey | None,
    path_mtu: PathMtuFinding | None,
) -> FamilySurvey:
    """Put together what belongs to one family; the gateway's word counts for IPv4."""
    family = Address(report.local_host, 0).family
    external = None
    if gateway is not None and gateway.external is not None and family is Family.IPV4:
        external = gateway.external.host
    return FamilySurvey(family, report, by_tcp, layers(report, external), path_mtu)
