"""``natkit nat``: what the NATs and firewalls on the way do, and what will work through them.

``--json`` prints one object::

    {"schema": 1,
     "interfaces": [{"interface": "eth0", "address": "192.168.1.2", "mtu": 1500,
                     "temporary": false, "deprecated": false}],
     "gateways": [{"interface": "eth0", "address": "192.168.1.1"}],
     "families": [
       {"family": "ipv4",
        "local_address": "192.168.1.2",
        "mapped_address": {"address": "198.51.100.7", "port": 40000},
        "udp": "passes",
        "servers": [{"server": {"address": "203.0.113.10", "port": 3478}, "answers": true,
                     "round_trip": 0.021, "sent": 5, "lost": 0,
                     "other_address": {"address": "203.0.113.11", "port": 3479}, "tcp": null}],
        "mapping": {"kind": "endpoint-independent", "confidence": 1.0, "evidence": ["…"]},
        "filtering":
          {"kind": "address-and-port-dependent", "confidence": 1.0, "evidence": ["…"]},
        "tcp_mapping": {"kind": "endpoint-independent", "confidence": 1.0, "evidence": ["…"]},
        "ports": {"kind": "preserved", "confidence": 1.0, "step": null, "keeps_parity": true,
                  "outside_addresses": ["198.51.100.7"], "paired": true, "evidence": ["…"]},
        "contiguity": {"holds": true, "confidence": 1.0, "evidence": ["…"]},
        "overloading": {"holds": false, "confidence": 1.0, "evidence": ["…"]},
        "rewrites_addresses": {"holds": false, "confidence": 1.0, "evidence": ["…"]},
        "sip": [{"server": {"address": "203.0.113.20", "port": 5060},
                 "rewrites": {"holds": true, "confidence": 1.0, "evidence": ["…"]}}],
        "hairpin": {"works": false, "external_source": null, "evidence": ["…"]},
        "lifetime":
          {"measured": true, "survived": 28.0, "fatal": 32.0, "keep_alive": 23.8,
           "evidence": ["…"]},
        "fragments":
          {"passes": true, "out": true, "back": true, "padding": 1500, "evidence": ["…"]},
        "path_mtu": {"passed": 1492, "lost": 1496, "told": [1492], "black_hole": false,
                     "evidence": ["…"]},
        "layers": {"at_least": 1, "carrier": null, "evidence": ["…"]},
        "verdict": [{"peer": "a public host", "way": "direct"}]}],
     "port_mapping":
       {"gateway": "192.168.1.1", "methods": {"pcp": "yes"},
        "external": {"address": "198.51.100.7", "port": 40000}, "works": true, "evidence": "…"},
     "turn": {"uri": "turn:turn.example.org", "relayed_address": null, "error": "…"},
     "nat64": {"prefixes": ["64:ff9b::/96"], "mapped_address": null,
               "works": {"holds": false, "confidence": 1.0, "evidence": ["…"]}},
     "advice": ["…"]}

``udp``: ``passes``, ``blocked`` (servers answer over TCP only) or ``unknown``.  Mapping kinds:
``none``, ``endpoint-independent``, ``address-dependent``, ``address-and-port-dependent``,
``dependent`` (on the address or on both), ``unknown``; filtering has the three of them and
``unknown``; ports are ``preserved``, ``sequential``, ``arbitrary`` or ``unknown``.  ``way``:
``direct``, ``hole-punching``, ``relay`` or ``unknown``.  What stands for yes or no may be null: it
could not be told, or the system does not tell.  What was not asked for (``hairpin``, ``lifetime``,
``fragments``, ``path_mtu``, ``tcp_mapping``, ``port_mapping``, ``turn``, ``nat64``, a server's
``tcp``) is null, and so is what could not be tried: ``overloading`` takes two addresses of this
host on one interface.  ``paired``: one outside address for all of this host's mappings.  ``told``
are the sizes that routers named by ICMP; ``black_hole``: what is too large vanishes, and nobody
names a size.  ``confidence`` is the share of the tests that agree.  Times are in seconds, sizes in
bytes.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from natkit.address import Address
from natkit.aio.behaviour import discover
from natkit.behaviour import LifetimeSearch, PathMtuFinding, Plan, Progress, Report
from natkit.cli.entry import ExitStatus, JsonOption, print_json
from natkit.cli.locating import open_locator
from natkit.cli.nat_plans import plans_for, servers_of, sip_servers_of, sip_uri
from natkit.cli.nat_survey import (
    GatewaySurvey,
    Survey,
    TurnSurvey,
    ask_by_tcp,
    survey_family,
    survey_gateway,
    survey_nat64,
    survey_path_mtu,
    survey_turn,
)
from natkit.cli.nat_views import nat_object, show_survey
from natkit.cli.turn import PASSWORD_VARIABLE, SPOKEN
from natkit.errors import MisuseError
from natkit.locate import Locator
from natkit.net.gateways import default_gateways
from natkit.net.local_addresses import LocalAddress, local_addresses
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)

__all__ = ["EXAMPLE", "nat"]

EXAMPLE = "natkit nat stun.example.org stun.example.net"

_PATIENCE_HELP = "How long a silence must last to count as one."


@dataclass(frozen=True, slots=True)
class _Turn:
    uri: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class _Options:
    """What the flags say; ``plan`` lacks its host and servers."""

    servers: tuple[str, ...]
    source: Address | None
    plan: Plan
    sip: tuple[str, ...]
    path_mtu: bool
    nat64: bool
    port_mapping: bool
    gateway: str | None
    turn: _Turn | None
    resolver: ResolverOptions


def nat(
    servers: Annotated[
        list[str],
        typer.Argument(
            metavar="SERVER...",
            help="STUN servers: HOST, HOST:PORT or stun: URIs. One with two addresses "
            "(RFC 5780) tells most; of others name two on different hosts.",
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Test from this address. Default: the system's."),
    ] = None,
    votes: Annotated[
        int, typer.Option(metavar="N", min=1, max=15, help="How often to run each test.")
    ] = 3,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, max=60.0, help=_PATIENCE_HELP)
    ] = 8.0,
    hairpin: Annotated[
        bool,
        typer.Option("--hairpin", help="Try to reach this host by its own outside address."),
    ] = False,
    fragments: Annotated[
        bool, typer.Option("--fragments", help="Try packets of 1500 bytes and more.")
    ] = False,
    mtu: Annotated[
        bool, typer.Option("--mtu", help="Measure the largest packet that passes in one piece.")
    ] = False,
    tcp: Annotated[
        bool, typer.Option("--tcp", help="Test the mapping of TCP connections as well.")
    ] = False,
    sip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVER",
            help="Ask this SIP server by OPTIONS over UDP whether messages are rewritten on the "
            "way (ALG): HOST, HOST:PORT or a sip: URI; repeatable.",
        ),
    ] = None,
    nat64: Annotated[
        bool,
        typer.Option("--nat64", help="Look for a NAT64 by the DNS, and try a server through it."),
    ] = False,
    lifetime: Annotated[
        bool,
        typer.Option("--lifetime", help="Measure how long a silent binding lives; takes minutes."),
    ] = False,
    lifetime_from: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1.0, max=3600.0, help="The shortest silence to try."),
    ] = 10.0,
    lifetime_to: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=2.0, max=7200.0, help="The longest silence to try."),
    ] = 600.0,
    lifetime_limit: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1.0, max=86400.0, help="When to end the search."),
    ] = 1800.0,
    port_mapping: Annotated[
        bool,
        typer.Option(
            "--port-mapping",
            help="Have the gateway map a port for a moment (PCP, NAT-PMP, UPnP), and try it.",
        ),
    ] = False,
    gateway: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The gateway to ask. Default: the system's."),
    ] = None,
    turn: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Try to get an allocation at this TURN server."),
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="The user's name there.")] = None,
    password: Annotated[
        str | None,
        typer.Option(metavar="PASSWORD", envvar=PASSWORD_VARIABLE, help="The user's password."),
    ] = None,
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find out what the NATs and firewalls between here and SERVERs do, and what gets through.

    It asks the servers alone; the gateway, a TURN server and this host's own outside address are
    tried when that is asked for.

    Exit status: 0 peers are reached through it, 1 something is in the way (UDP is blocked, the
    mapping depends on the destination, or what was asked for does not work), 2 wrong use, 3 it
    could not be tested.
    """
    options = _Options(
        tuple(servers),
        None if source is None else Address.of(source, 0),
        Plan(
            "",
            (),
            votes,
            patience,
            hairpin,
            fragments,
            _lifetime_search(lifetime_from, lifetime_to, lifetime_limit) if lifetime else None,
            tcp,
        ),
        tuple(sip_uri(each) for each in sip or ()),
        mtu,
        nat64,
        port_mapping or gateway is not None,
        gateway,
        _turn(turn, user, password),
        ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor),
    )
    survey = asyncio.run(_survey(options))
    if as_json:
        print_json(nat_object(survey))
    else:
        show_survey(survey)
    return _status(survey)


def _lifetime_search(shortest: float, longest: float, limit: float) -> LifetimeSearch:
    if shortest >= longest:
        raise MisuseError("--lifetime-from must be less than --lifetime-to")
    return LifetimeSearch(shortest, longest, limit)


def _turn(uri: str | None, user: str | None, password: str | None) -> _Turn | None:
    if uri is None:
        if user is not None:
            raise MisuseError("--user is for a server of --turn")
        return None
    if user is None or password is None:
        raise MisuseError("--turn needs --user and --password")
    return _Turn(uri, user, password)


async def _survey(options: _Options) -> Survey:
    async with open_locator(options.resolver, SPOKEN) as locator:
        servers = await servers_of(options.servers, locator)
        plan = replace(options.plan, sip_servers=await sip_servers_of(options.sip, locator))
        plans = plans_for(plan, servers, options.source, may_be_none=options.nat64)
        with _progress() as told:
            reports = await asyncio.gather(
                *(discover(plan, told(plan.local_host)) for plan in plans)
            )
        by_tcp = [await _by_tcp(report, options.plan.patience) for report in reports]
        mtus: list[PathMtuFinding | None] = [
            await survey_path_mtu(report, options.plan.patience) if options.path_mtu else None
            for report in reports
        ]
        gateway = await _gateway(options, reports)
        turn = await _allocation(options, locator)
        nat64 = None
        if options.nat64:
            nat64 = await survey_nat64(servers, locator, options.plan.patience)
    families = tuple(
        survey_family(report, tcp, gateway, mtu)
        for report, tcp, mtu in zip(reports, by_tcp, mtus, strict=True)
    )
    return Survey(_interfaces(), default_gateways(), families, gateway, turn, nat64)


def _interfaces() -> tuple[LocalAddress, ...]:
    return tuple(each for each in local_addresses() if not each.address.is_loopback)


async def _by_tcp(report: Report, patience: float) -> tuple[Address, ...] | None:
    """Whether it is UDP that does not pass: asked only where nothing came by UDP."""
    if report.udp_passes:
        return None
    return await ask_by_tcp([each.server for each in report.servers], patience)


async def _gateway(options: _Options, reports: Sequence[Report]) -> GatewaySurvey | None:
    if not options.port_mapping:
        return None
    by_ipv4 = [each for each in reports if ":" not in each.local_host]
    report = by_ipv4[0] if by_ipv4 else None
    return await survey_gateway(report, options.gateway, options.plan.patience)


async def _allocation(options: _Options, locator: Locator) -> TurnSurvey | None:
    turn = options.turn
    if turn is None:
        return None
    patience = options.plan.patience
    return await survey_turn(turn.uri, turn.user, turn.password, locator, patience)


def _status(survey: Survey) -> ExitStatus:
    if any(_faults(survey)):
        return ExitStatus.FAULT
    through_nat64 = survey.nat64 is not None and survey.nat64.works.holds is True
    if not through_nat64 and not any(each.knows_mapping for each in survey.families):
        return ExitStatus.NOT_TESTED
    return ExitStatus.GOOD


def _faults(survey: Survey) -> Iterator[bool]:
    """What is in the way, or was asked for and does not work."""
    yield survey.gateway is not None and survey.gateway.works is False
    yield survey.turn is not None and survey.turn.error is not None
    yield survey.nat64 is not None and survey.nat64.works.holds is False
    for family in survey.families:
        report, mtu = family.report, family.path_mtu
        yield family.udp_blocked is True or family.is_hard
        yield report.fragments is not None and report.fragments.passes is False
        yield report.hairpin is not None and report.hairpin.works is False
        yield report.rewritten.holds is True
        yield any(each.rewrites.holds for each in report.sip)
        yield mtu is not None and mtu.is_black_hole is True


@contextmanager
def _progress() -> Iterator[Callable[[str], Callable[[Progress], None]]]:
    """A bar for each host address, on a terminal; nothing elsewhere."""
    bar = ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[test]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )

    def of_host(host: str) -> Callable[[Progress], None]:
        task = bar.add_task(f"testing {host}", total=None, test="servers")

        def told(progress: Progress) -> None:
            bar.update(task, total=progress.planned, completed=progress.done, test=progress.name)

        return told

    with bar:
        yield of_host
