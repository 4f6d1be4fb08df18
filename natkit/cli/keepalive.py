"""``natkit keepalive``: a flow kept open through the NATs on the way, and how long they keep one.

``--json`` prints one object a line, each with ``"schema": 1``, ``"time"`` (Unix, seconds) and
``"event"``::

    {…, "event": "open", "server": {"transport": "udp", "address": …, "port": …, "host": …},
        "local_address": {"address": …, "port": …}, "technique": "stun", "interval": 29.0}
    {…, "event": "alive", "round_trip": 0.0123, "mapped_address": {…} or null}
    {…, "event": "address_changed", "before": {…}, "after": {…}}
    {…, "event": "failed", "reason": "no answer to 7 Binding requests"}
    {…, "event": "ended", "answers": 12, "address_changes": 0,
        "round_trip": {"least": 0.011, "mean": 0.012, "most": 0.014}}

The flow is opened again by nobody: ``ended`` is always the last line.  With ``--measure`` there is
one line, of the event ``lifetime``::

    {…, "server": {…}, "measured": true, "survived": 28.3, "fatal": 33.6, "interval": 24.0,
        "evidence": ["after 20 s of silence it lets packets in", …]}

``fatal`` is null when nothing that was tried was too long, ``interval`` when nothing was survived.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Final, assert_never
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text

from natkit.address import Address
from natkit.aio.adaptive import TRIAL
from natkit.aio.scripts import run_script
from natkit.aio.secure import Trust
from natkit.aio.server_flow import ServerFlow, connect_flow
from natkit.aio.stun import binding, server_uri
from natkit.aio.udp import source_address
from natkit.behaviour import LifetimeFinding, binding_lifetime
from natkit.behaviour.steps import Pause, Step
from natkit.cli.entry import JSON_SCHEMA, ExitStatus, console
from natkit.cli.findings import (
    CaFileOption,
    Fault,
    InsecureOption,
    Row,
    as_object,
    explain,
    milliseconds,
    show,
    target_object,
    trust,
)
from natkit.cli.locating import open_locator
from natkit.cli.stun import TimeoutOption
from natkit.errors import MisuseError, NatkitError, UnreachableError
from natkit.keepalive import (
    AddressChanged,
    Alive,
    FlowFailed,
    KeepAliveEvent,
    SendPing,
    default_bound,
    interval_within,
    technique_for,
)
from natkit.locate import Target
from natkit.machine import Transport
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)

__all__ = ["EXAMPLE", "keepalive"]

EXAMPLE = "natkit keepalive stun.example.org --interval 20 --for 300"

MEASURE_LIMIT: Final = 1800.0
"""Seconds that a measurement may stay silent in all, unless told otherwise."""

SHORTEST: Final = 10.0
LONGEST: Final = 900.0

_SIP = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)


@dataclass(frozen=True, slots=True)
class _Options:
    """What the flags say."""

    server: str
    interval: float | None
    limit: float | None
    timeout: float
    shortest: float
    longest: float
    believed: Trust
    resolver: ResolverOptions
    as_json: bool


def keepalive(
    server: Annotated[
        str,
        typer.Argument(
            metavar="SERVER",
            help="A STUN server: HOST, HOST:PORT or a stun: URI. A SIP server: a sip: or sips: "
            "URI. A SIP server's WebSocket: a ws: or wss: URL.",
        ),
    ],
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            max=86_400.0,
            help="The longest time between keep-alives; each takes 80 to 100 % of it. "
            "Default: 29 over UDP, 120 over connections.",
        ),
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="SECONDS",
            min=0.1,
            help="End after so long. Default: at Ctrl-C. With --measure the silence of all trials "
            f"together, by default {MEASURE_LIMIT:g}.",
        ),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Find out how long the NAT keeps a silent UDP binding. The STUN server must "
            "answer to other ports (RFC 5780).",
        ),
    ] = False,
    shortest: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.5,
            help=f"With --measure: the shortest silence to try. Default: {SHORTEST:g}.",
        ),
    ] = None,
    longest: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            max=86_400.0,
            help=f"With --measure: the longest silence to try. Default: {LONGEST:g}.",
        ),
    ] = None,
    ca_file: CaFileOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = 10.0,
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line instead of text.")
    ] = False,
) -> int:
    """Keep a flow to SERVER open, and show round-trip times and address changes.

    Over UDP by STUN Binding requests, over TCP and TLS by double CRLF (RFC 5626), over WebSockets
    by ping frames (RFC 7118).

    Exit status: 0 it stayed open, or the lifetime was measured; 1 it failed, or its address
    changed; 2 wrong use; 3 the server could not be reached, or cannot measure.
    """
    if not measure and (shortest is not None or longest is not None):
        raise MisuseError("--shortest and --longest have a meaning with --measure only")
    if measure and interval is not None:
        raise MisuseError("--interval and --measure exclude each other")
    options = _Options(
        server,
        interval,
        hold,
        timeout,
        SHORTEST if shortest is None else shortest,
        LONGEST if longest is None else longest,
        trust(ca_file, insecure=insecure),
        ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor),
        as_json,
    )
    if options.shortest >= options.longest:
        raise MisuseError(
            f"--shortest {options.shortest:g} leaves nothing below --longest {options.longest:g}"
        )
    try:
        return asyncio.run(_measure(options) if measure else _keep(options))
    except NatkitError as error:
        raise explain(error, server) from error


# ── whom to reach ───────────────────────────────────────────────────────────────────────────────


async def _targets(options: _Options) -> tuple[Sequence[Target], str]:
    """The servers to try, and what a WebSocket is opened for."""
    scheme = options.server.partition(":")[0].lower()
    resource = "/"
    match scheme:
        case "ws" | "wss":
            uri, resource = _websocket(options.server)
            spoken: Sequence[Transport] = _SIP
        case "sip" | "sips":
            uri, spoken = options.server, _SIP
        case _:
            uri, spoken = _stun(options.server), (Transport.UDP,)
    async with open_locator(options.resolver, spoken) as locator:
        return await locator.locate(uri), resource


def _stun(server: str) -> str:
    uri = server_uri(server)
    if uri.scheme.is_secure:
        raise MisuseError(
            f"'{uri}': a stuns: server keeps no flow of anybody's open; write a stun: URI for UDP, "
            "or a sips: or wss: one"
        )
    return str(uri)


def _websocket(url: str) -> tuple[str, str]:
    """A ``ws:`` or ``wss:`` URL as SIP URI, which says where to look, and its resource."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MisuseError(f"{url!r} is no WebSocket URL: {error}") from None
    if not host or parts.username is not None or parts.fragment:
        raise MisuseError(f"{url!r} is no WebSocket URL; write it as wss://sip.example.org/path")
    secure = parts.scheme == "wss"
    shown = f"[{host}]" if ":" in host else host
    resource = parts.path or "/"
    if parts.query:
        resource += f"?{parts.query}"
    # With a port nothing but its addresses is looked up (RFC 3263 §4.2).
    scheme = "sips" if secure else "sip"
    return f"{scheme}:{shown}:{port or (443 if secure else 80)};transport=ws", resource


# ── keeping a flow ──────────────────────────────────────────────────────────────────────────────


class _Tally:
    """What has come of a flow so far."""

    def __init__(self) -> None:
        self.answers = 0
        self.total = 0.0
        self.least = self.most = 0.0
        self.changes = 0
        self.failure: str | None = None

    def add(self, event: KeepAliveEvent) -> None:
        match event:
            case Alive(_, took):
                self.least = min(self.least, took) if self.answers else took
                self.most = max(self.most, took)
                self.answers += 1
                self.total += took
            case AddressChanged():
                self.changes += 1
            case FlowFailed(_, reason):
                self.failure = reason
            case SendPing():
                pass
            case _:
                assert_never(event)

    @property
    def mean(self) -> float:
        return self.total / max(self.answers, 1)

    def __str__(self) -> str:
        number = "1 answer" if self.answers == 1 else f"{self.answers} answers"
        moved = "no address change"
        if self.changes:
            moved = f"{self.changes} address change{'s' if self.changes > 1 else ''}"
        times = " / ".join(f"{each * 1000:.1f}" for each in (self.least, self.mean, self.most))
        return f"{number}, {moved}, round trip {times} ms (least / mean / most)"


class _Screen:
    """Lines as they come, and below them on a terminal how it stands."""

    def __init__(self, out: Console, status: Status | None) -> None:
        self._out = out
        self._status = status

    def say(self, line: str) -> None:
        # By the console that draws the status, which would be drawn over the line otherwise.
        self._out.print(Text(line))

    def stand(self, line: str) -> None:
        if self._status is not None:
            self._status.update(line)


@contextmanager
def _screen(options: _Options) -> Iterator[_Screen]:
    out = console()
    if options.as_json or not out.is_terminal:
        yield _Screen(out, None)
        return
    with Status("", console=out) as status:
        yield _Screen(out, status)


async def _keep(options: _Options) -> int:
    targets, resource = await _targets(options)
    flow = await connect_flow(
        targets,
        bound=options.interval,
        trust=options.believed,
        resource=resource,
        timeout=options.timeout,
    )
    async with flow:
        tally = _Tally()
        with _screen(options) as screen:
            _tell_open(flow, screen, options)
            try:
                await _follow(flow, tally, screen, options)
            finally:
                _tell_end(tally, screen, options)
    if tally.failure is not None:
        raise Fault(f"the flow to {flow.server.address} failed: {tally.failure}")
    return ExitStatus.FAULT if tally.changes else ExitStatus.GOOD


async def _follow(flow: ServerFlow, tally: _Tally, screen: _Screen, options: _Options) -> None:
    def seen(event: KeepAliveEvent) -> None:
        tally.add(event)
        _tell_event(event, screen, options)
        screen.stand(
            f"kept open, {tally.answers} answered in {milliseconds(tally.mean)} on average"
        )

    with suppress(TimeoutError):
        async with asyncio.timeout(options.limit):
            seen(flow.first)
            async for event in flow.kept:
                seen(event)


def _tell_open(flow: ServerFlow, screen: _Screen, options: _Options) -> None:
    transport = flow.path.transport
    bound = default_bound(transport) if options.interval is None else options.interval
    technique = technique_for(transport)
    if options.as_json:
        _line(
            "open",
            server=target_object(flow.server),
            local_address=as_object(flow.path.local),
            technique=technique.value,
            interval=bound,
        )
        return
    ways = {"stun": "STUN", "crlf": "CRLF", "websocket": "pings"}
    screen.say(
        f"{flow.server.address} over {transport.upper()} from {flow.path.local}, "
        f"kept open by {ways[technique.value]} every {bound:g} s at least"
    )


def _tell_event(event: KeepAliveEvent, screen: _Screen, options: _Options) -> None:
    clock = time.strftime("%H:%M:%S")
    match event:
        case Alive(_, took, mapped):
            if options.as_json:
                _line("alive", round_trip=took, mapped_address=as_object(mapped))
            else:
                seen_as = f"  seen as {mapped}" if mapped is not None else ""
                screen.say(f"{clock}  alive{milliseconds(took):>12}{seen_as}")
        case AddressChanged(_, before, after):
            if options.as_json:
                _line("address_changed", before=as_object(before), after=as_object(after))
            else:
                screen.say(f"{clock}  the address changed from {before} to {after}")
        case FlowFailed(_, reason):
            if options.as_json:
                _line("failed", reason=reason)
            else:
                screen.say(f"{clock}  failed: {reason}")
        case SendPing():
            pass
        case _:
            assert_never(event)


def _tell_end(tally: _Tally, screen: _Screen, options: _Options) -> None:
    if not options.as_json:
        screen.say(str(tally))
        return
    _line(
        "ended",
        answers=tally.answers,
        address_changes=tally.changes,
        round_trip={"least": tally.least, "mean": tally.mean, "most": tally.most},
    )


def _line(event: str, **members: object) -> None:
    head = {"schema": JSON_SCHEMA, "time": round(time.time(), 3), "event": event}
    typer.echo(json.dumps({**head, **members}, ensure_ascii=False))


# ── measuring ───────────────────────────────────────────────────────────────────────────────────


async def _measure(options: _Options) -> int:
    targets, _ = await _targets(options)
    server = targets[0]
    if server.transport is not Transport.UDP:
        raise MisuseError(
            f"--measure asks a STUN server over UDP, and '{options.server}' is reached over "
            f"{server.transport.upper()}"
        )
    # An error of its own for a server that is not there at all.
    await binding(server.address, timeout=options.timeout)
    limit = MEASURE_LIMIT if options.limit is None else options.limit
    spent = 0.0
    with _screen(options) as screen:

        def on_step(step: Step) -> None:
            nonlocal spent
            if isinstance(step, Pause):
                spent += step.seconds
                screen.stand(f"silent for {step.seconds:.3g} s, {spent:.0f} of {limit:g} s in all")

        finding = await run_script(
            binding_lifetime(
                source_address(server.address).host,
                server.address,
                shortest=options.shortest,
                longest=options.longest,
                limit=limit,
            ),
            timing=TRIAL,
            on_step=on_step,
        )
    bound = interval_within(finding.survived) if finding.survived else None
    if options.as_json:
        _line(
            "lifetime",
            server=target_object(server),
            measured=finding.works,
            survived=finding.survived,
            fatal=finding.fatal,
            interval=bound,
            evidence=finding.evidence,
        )
    elif finding.works:
        _show_lifetime(server.address, finding, bound)
    if not finding.works:
        raise UnreachableError(f"the lifetime cannot be measured: {finding.evidence[0]}")
    return ExitStatus.GOOD


def _show_lifetime(server: Address, finding: LifetimeFinding, bound: float | None) -> None:
    rows = [Row("", line) for line in finding.evidence]
    if finding.survived and finding.fatal is not None:
        title = f"a silent UDP binding lives {finding.survived:.3g} to {finding.fatal:.3g} s"
    elif finding.survived:
        title = f"a silent UDP binding lives {finding.survived:.3g} s or longer"
    elif finding.fatal is not None:
        title = f"a silent UDP binding lives less than {finding.fatal:.3g} s"
    else:
        title = "how long a silent UDP binding lives is not known"
    advice = "at every chance: no interval was found to be short enough"
    if bound is not None:
        advice = f"every {bound:.3g} s, as --interval {bound:.3g} does"
    rows.append(Row("keep alive", advice, "green" if bound is not None else "yellow"))
    show(f"{title} (asked: {server})", rows)
