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
        "ports": {"kind": "preserved", "confidence": 1.0, "step": null, "keeps_parity": true,
                  "evidence": ["…"]},
        "hairpin": {"works": false, "external_source": null, "evidence": ["…"]},
        "lifetime":
          {"measured": true, "survived": 28.0, "fatal": 32.0, "keep_alive": 23.8,
           "evidence": ["…"]},
        "fragments": {"passes": true, "padding": 1500, "evidence": ["…"]},
        "layers": {"at_least": 1, "carrier": null, "evidence": ["…"]},
        "verdict": [{"peer": "a public host", "way": "direct"}]}],
     "port_mapping":
       {"gateway": "192.168.1.1", "methods": {"pcp": "yes"},
        "external": {"address": "198.51.100.7", "port": 40000}, "works": true, "evidence": "…"},
     "turn": {"uri": "turn:turn.example.org", "relayed_address": null, "error": "…"},
     "advice": ["…"]}

``udp``: ``passes``, ``blocked`` (servers answer over TCP only) or ``unknown``.  Mapping kinds:
``none``, ``endpoint-independent``, ``address-dependent``, ``address-and-port-dependent``,
``dependent`` (on the address or on both), ``unknown``; filtering has the three of them and
``unknown``; ports are ``preserved``, ``sequential``, ``arbitrary`` or ``unknown``.  ``way``:
``direct``, ``hole-punching``, ``relay`` or ``unknown``.  What stands for yes or no may be null: it
could not be told, or the system does not tell.  What was not asked for (``hairpin``, ``lifetime``,
``fragments``, ``port_mapping``, ``turn``, a server's ``tcp``) is null.  ``confidence`` is the share
of the tests that agree.  Times are in seconds.
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

from natkit.address import Address, Family
from natkit.aio.behaviour import discover
from natkit.aio.stun import server_uri
from natkit.aio.udp import source_address
from natkit.behaviour import LifetimeSearch, Plan, Progress, Report
from natkit.cli.entry import ExitStatus, JsonOption, print_json, report_error
from natkit.cli.locating import open_locator
from natkit.cli.nat_survey import (
    GatewaySurvey,
    Survey,
    TurnSurvey,
    ask_by_tcp,
    survey_family,
    survey_gateway,
    survey_turn,
)
from natkit.cli.nat_views import nat_object, show_survey
from natkit.cli.turn import PASSWORD_VARIABLE, SPOKEN
from natkit.errors import LocateError, MisuseError, UnreachableError
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

MOST_SERVERS = 8
"""Addresses of servers that one family is tested with: more show nothing new."""

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
        ),
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
        plans = await _plans(options, locator)
        with _progress() as told:
            reports = await asyncio.gather(
                *(discover(plan, told(plan.local_host)) for plan in plans)
            )
        by_tcp = [await _by_tcp(report, options.plan.patience) for report in reports]
        gateway = await _gateway(options, reports)
        turn = await _allocation(options, locator)
    families = tuple(
        survey_family(report, tcp, gateway) for report, tcp in zip(reports, by_tcp, strict=True)
    )
    return Survey(_interfaces(), default_gateways(), families, gateway, turn)


def _interfaces() -> tuple[LocalAddress, ...]:
    return tuple(each for each in local_addresses() if not each.address.is_loopback)


async def _plans(options: _Options, locator: Locator) -> list[Plan]:
    """One for each family that servers and this host have in common."""
    found: dict[Address, None] = {}
    problems: list[LocateError] = []
    for server in options.servers:
        uri = server_uri(server)
        if uri.scheme.is_secure:
            raise MisuseError(f"'{uri}' is asked over TLS; behaviour is tested over UDP (stun:)")
        try:
            found.update((each.address, None) for each in await locator.locate(str(uri)))
        except LocateError as error:
            problems.append(error)
    if not found and problems:
        raise problems[0]
    for problem in problems:
        report_error(str(problem))
    plans: list[Plan] = []
    unreachable: list[UnreachableError] = []
    for family in Family:
        mine = tuple(each for each in found if each.family is family)[:MOST_SERVERS]
        if not mine or (options.source is not None and options.source.family is not family):
            continue
        try:
            local = options.source or source_address(mine[0])
        except UnreachableError as error:
            unreachable.append(error)
            continue
        plans.append(replace(options.plan, local_host=local.host, servers=mine))
    if not plans:
        if unreachable:
            raise unreachable[0]
        raise UnreachableError(f"no server has an address of the family of {options.source}")
    return plans


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
    faults = [
        any(each.udp_blocked is True or each.is_hard for each in survey.families),
        survey.gateway is not None and survey.gateway.works is False,
        survey.turn is not None and survey.turn.error is not None,
        any(
            each.report.fragments and each.report.fragments.passes is False
            for each in survey.families
        ),
        any(each.report.hairpin and each.report.hairpin.works is False for each in survey.families),
    ]
    if any(faults):
        return ExitStatus.FAULT
    if not any(each.knows_mapping for each in survey.families):
        return ExitStatus.NOT_TESTED
    return ExitStatus.GOOD


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
