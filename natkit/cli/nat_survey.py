"""What ``natkit nat`` looks at beside the tests of one family: TCP, the gateway, a TURN server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from natkit.address import Address, Family
from natkit.aio.behaviour import run_test
from natkit.aio.portmap import MappingRefused, map_on, open_gateway
from natkit.aio.stun import examine
from natkit.aio.turn import allocate
from natkit.aio.udp import bind_udp
from natkit.behaviour import (
    Filtering,
    LayerFinding,
    MappedPortFinding,
    Mapping,
    Peer,
    Report,
    Way,
    layers,
    mapped_port_works,
)
from natkit.cli.findings import explain
from natkit.errors import NatkitError, UnreachableError
from natkit.locate import Locator
from natkit.net.gateways import Gateway
from natkit.net.local_addresses import LocalAddress
from natkit.portmap import Protocol, Wish

__all__ = [
    "FamilySurvey",
    "GatewaySurvey",
    "Survey",
    "TurnSurvey",
    "ask_by_tcp",
    "survey_family",
    "survey_gateway",
    "survey_turn",
]

MAPPED_FOR: Final = 120
"""Seconds to ask a mapping for that is removed at once: should we die, it goes by itself."""


@dataclass(frozen=True, slots=True)
class FamilySurvey:
    """One address family; ``by_tcp`` are the servers that answer over TCP, None if not asked."""

    family: Family
    report: Report
    by_tcp: tuple[Address, ...] | None
    layers: LayerFinding

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
class Survey:
    """All of it; what was not asked for is None."""

    interfaces: tuple[LocalAddress, ...]
    gateways: tuple[Gateway, ...]
    families: tuple[FamilySurvey, ...]
    gateway: GatewaySurvey | None
    turn: TurnSurvey | None


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


def survey_family(
    report: Report, by_tcp: tuple[Address, ...] | None, gateway: GatewaySurvey | None
) -> FamilySurvey:
    """Put together what belongs to one family; the gateway's word counts for IPv4."""
    family = Address(report.local_host, 0).family
    external = None
    if gateway is not None and gateway.external is not None and family is Family.IPV4:
        external = gateway.external.host
    return FamilySurvey(family, report, by_tcp, layers(report, external))
