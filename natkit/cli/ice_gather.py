"""``natkit ice gather``: the candidates that this host has, and what each server had to say.

``--json`` prints one object::

    {"schema": 1,
     "duration": 0.61,
     "candidates":
       [{"elapsed": 0.0,
         "source": {"method": "interface", "name": "eth0", "server": null, "transport": null},
         "type": "host", "transport": "udp", "component": 1, "priority": 2130706431,
         "foundation": "1", "address": "192.168.1.2", "port": 40000,
         "related": null,
         "sdp": "candidate:1 1 udp 2130706431 192.168.1.2 40000 typ host ufrag k3Wz"}],
     "failures":
       [{"elapsed": 0.55,
         "source": {"method": "turn", "name": "turn:turn.example.org",
                    "server": {"address": "192.0.2.1", "port": 3478}, "transport": "udp"},
         "error": "401 Unauthorized"}]}

Times are in seconds since gathering began.  ``method``: ``interface``, ``stun``, ``turn`` or
``port mapping``.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from natkit.address import Address
from natkit.cli.entry import ExitStatus, JsonOption, console, print_json, report_error
from natkit.cli.findings import (
    CaFileOption,
    InsecureOption,
    as_object,
    milliseconds,
    told,
    trust,
)
from natkit.cli.ice_options import (
    IceOptions,
    InterfaceOption,
    Ipv4Option,
    Ipv6Option,
    LoopbackOption,
    PasswordOption,
    PortMappingOption,
    PortsOption,
    ProxyOption,
    RelayOnlyOption,
    ServersArgument,
    TcpOption,
    UserOption,
    gather_settings,
    open_agent,
)
from natkit.errors import UnreachableError
from natkit.gather import CandidateRedundant, GatheringEnded, Method, ServerFailed, Source
from natkit.gather.endpoint import CandidateFound, EndpointEvent
from natkit.ice.candidate import Candidate, CandidateType
from natkit.ice.candidate_attribute import write_candidate
from natkit.net.proxy import Proxy
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)

__all__ = ["EXAMPLE", "candidate_object", "gather"]

EXAMPLE = (
    "natkit ice gather stun:stun.example.org turn:turn.example.org --user alice --password secret"
)

_Cells = tuple[str, str, str, str, str]
"""Of a line: when, what, its address, where that is seen or sent from, and by whom."""

LimitOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0.1, max=120.0, help="Wait so long for servers, then give up."
    ),
]


def gather(
    servers: ServersArgument = None,
    user: UserOption = "",
    password: PasswordOption = "",
    relay_only: RelayOnlyOption = False,
    tcp: TcpOption = False,
    port_mapping: PortMappingOption = False,
    interface: InterfaceOption = None,
    ports: PortsOption = None,
    loopback: LoopbackOption = False,
    ipv4: Ipv4Option = False,
    ipv6: Ipv6Option = False,
    proxy: ProxyOption = None,
    timeout: LimitOption = 10.0,
    ca_file: CaFileOption = None,
    insecure: InsecureOption = False,
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show this host's ICE candidates as they come, each with its server and the time it took.

    Every server is waited for, and one that gives no candidate is listed with its reason.

    Exit status: 0 every server gave what it has, 1 one failed, 2 wrong use, 3 there is no candidate
    at all.
    """
    settings = gather_settings(
        servers,
        user,
        password,
        relay_only=relay_only,
        tcp=tcp,
        port_mapping=port_mapping,
        interfaces=interface,
        ports=ports,
        loopback=loopback,
        ipv4=ipv4,
        ipv6=ipv6,
    )
    options = IceOptions(
        replace(settings, grace=None, mapping_patience=timeout, limit=timeout),
        trust(ca_file, insecure=insecure),
        None if proxy is None else Proxy.parse(proxy),
        ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor),
    )
    return asyncio.run(_gather(options, as_json=as_json))


class _Findings:
    """What has come so far; ``show`` is told each line once."""

    def __init__(self, show: Callable[[_Cells], None]) -> None:
        self.found: list[CandidateFound] = []
        self.failed: list[ServerFailed] = []
        self._show = show
        self._answered: set[str] = set()
        self._shown: set[tuple[str, ...]] = set()

    def add(self, event: EndpointEvent) -> None:
        """Take an event of the agent."""
        match event:
            case CandidateFound():
                self.found.append(event)
                self._note(event.source, event.candidate.type)
                self._show(_candidate_row(event))
            case CandidateRedundant():
                self._note(event.source, event.candidate.type)
                self._show(_redundant_row(event))
            case ServerFailed():
                self.failed.append(event)
                row = _failure_row(event)
                # Of each address and component the same: once is enough.
                if row[2:] not in self._shown:
                    self._show(row)
                self._shown.add(row[2:])
            case _:
                pass

    @property
    def faults(self) -> list[ServerFailed]:
        """Failures of servers that gave nothing at all.

        One that relays IPv4 alone, or does not answer one of several interfaces, is not at fault.
        """
        return [each for each in self.failed if each.source.name not in self._answered]

    def _note(self, source: Source, kind: CandidateType) -> None:
        # A TURN server is there to relay, whatever address it sees us at.
        if source.method is not Method.TURN or kind is CandidateType.RELAYED:
            self._answered.add(source.name)


async def _gather(options: IceOptions, *, as_json: bool) -> ExitStatus:
    duration = 0.0
    async with open_agent(options) as agent:
        agent.start_gathering()
        with _shown(quiet=as_json) as show:
            findings = _Findings(show)
            async for event in agent:
                if isinstance(event, GatheringEnded):
                    duration = event.elapsed
                    break
                findings.add(event)
    found, failed = findings.found, findings.failed
    if as_json:
        print_json(_report(found, failed, duration))
    if not found:
        raise UnreachableError(_nothing(failed))
    if findings.faults:
        names = ", ".join(dict.fromkeys(each.source.name for each in findings.faults))
        report_error(f"no candidate from {names}: {told(findings.faults[0].error)}")
        return ExitStatus.FAULT
    if not as_json:
        console().print(Text(f"{len(found)} candidates in {milliseconds(duration)}"))
    return ExitStatus.GOOD


# ── for people ──────────────────────────────────────────────────────────────────────────────────

_HEADINGS = ("after", "candidate", "address", "seen or sent from", "by")


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Callable[[_Cells], None]]:
    """A table that grows on a terminal, lines as they come elsewhere."""
    out = console()
    if quiet:
        yield lambda _: None
        return
    if not out.is_terminal:
        yield lambda cells: out.print(Text(_line(cells)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading == "after" else "left")
    with Live(table, console=out, refresh_per_second=10):

        def add(cells: _Cells) -> None:
            style = "red" if cells[1] == _FAILED else None
            table.add_row(*map(Text, cells), style=style)

        yield add


_FAILED = "none"
_WIDTHS = (10, 12, 28, 28)


def _line(cells: _Cells) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join((*padded, cells[-1])).rstrip()


def _candidate_row(event: CandidateFound) -> _Cells:
    candidate = event.candidate
    kind = f"{candidate.type} {candidate.tcp_type or candidate.transport}"
    from_ = "" if candidate.related is None else str(candidate.related)
    return milliseconds(event.elapsed), kind, str(candidate.address), from_, _origin(event.source)


def _redundant_row(event: CandidateRedundant) -> _Cells:
    candidate = event.candidate
    kind = "as known"
    took = milliseconds(event.elapsed)
    return took, kind, str(candidate.address), str(candidate.base), _origin(event.source)


def _failure_row(event: ServerFailed) -> _Cells:
    return milliseconds(event.elapsed), _FAILED, told(event.error), "", _origin(event.source)


def _origin(source: Source) -> str:
    if source.server is None:
        return source.name
    over = "" if source.transport is None else f" over {source.transport.upper()}"
    return f"{source}{over}"


def _nothing(failed: list[ServerFailed]) -> str:
    if not failed:
        return "this host has no address that could be a candidate; --loopback uses its own"
    reasons = dict.fromkeys(f"{each.source.name} ({told(each.error)})" for each in failed)
    return f"there is no candidate at all: {', '.join(reasons)}"


# ── for programs ────────────────────────────────────────────────────────────────────────────────


def _report(
    found: list[CandidateFound], failed: list[ServerFailed], duration: float
) -> dict[str, object]:
    return {
        "duration": duration,
        "candidates": [
            {
                "elapsed": each.elapsed,
                "source": _source_object(each.source),
                **candidate_object(each.candidate),
            }
            for each in found
        ],
        "failures": [
            {
                "elapsed": each.elapsed,
                "source": _source_object(each.source),
                "error": told(each.error),
            }
            for each in failed
        ],
    }


def _source_object(source: Source) -> dict[str, object]:
    return {
        "method": str(source.method),
        "name": source.name,
        "server": as_object(source.server),
        "transport": None if source.transport is None else str(source.transport),
    }


def candidate_object(candidate: Candidate) -> dict[str, object]:
    """A candidate in JSON."""
    address = candidate.address
    return {
        "type": str(candidate.type),
        "transport": str(candidate.transport),
        "component": candidate.component,
        "priority": candidate.priority,
        "foundation": candidate.foundation,
        "address": address.host if isinstance(address, Address) else address.name,
        "port": address.port,
        "related": as_object(candidate.related),
        "sdp": write_candidate(candidate),
    }
