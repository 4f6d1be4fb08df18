"""``natkit ice connect``: a path to the same command on another host, and how good it is.

``--json`` prints one object; our description then goes to stderr, unless ``--local`` names a file::

    {"schema": 1,
     "connected": true,
     "time_to_connect": 0.052,
     "pair":
       {"local": {"type": "host", "transport": "udp", "address": "192.168.1.2", "port": 40000, …},
        "remote": {…},
        "round_trip": 0.0123},
     "probes": {"sent": 20, "lost": 0, "round_trip": {"least": 0.011, "mean": 0.012, "most": 0.02}},
     "pairs":
       [{"local": {…}, "remote": {…}, "state": "succeeded", "selected": true, "reason": "…",
         "sent": 1, "heard": 1, "round_trip": 0.0123}],
     "remarks": []}

``pair`` and ``probes`` are null without a path.  Candidates are as in ``natkit ice gather``.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from natkit.aio.ice import Agent, IceFailed
from natkit.cli.entry import ExitStatus, JsonOption, console, print_json
from natkit.cli.findings import (
    CaFileOption,
    Fault,
    InsecureOption,
    Row,
    milliseconds,
    show,
    trust,
)
from natkit.cli.ice_exchange import from_line, read_file, read_line, to_line, write_file
from natkit.cli.ice_gather import candidate_object
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
from natkit.cli.ice_probes import Outcome, exchange_probes
from natkit.errors import UnreachableError
from natkit.ice.candidate import CandidateType
from natkit.ice.events import SelectedPair
from natkit.ice.explanation import Explanation, PairExplanation
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

__all__ = ["EXAMPLE", "connect"]

EXAMPLE = "natkit ice connect stun:stun.example.org"

MOST_PAIRS = 12
"""Pairs that are shown to people; --json has them all."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """Where the descriptions are told, and how long that and the checks may take."""

    local: Path | None
    remote: Path | None
    wait: float
    timeout: float
    probes: int
    interval: float
    as_json: bool


def connect(
    servers: ServersArgument = None,
    local: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write our description here, for the peer."),
    ] = None,
    remote: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Read the peer's description here, as soon as it is there."
        ),
    ] = None,
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
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1.0, help="How long to wait for the file --remote."),
    ] = 300.0,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1.0, help="How long to look for a path."),
    ] = 60.0,
    probes: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=100_000, help="Probes to send.")
    ] = 20,
    interval: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.001, max=60.0, help="Between two probes."),
    ] = 0.05,
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
    """Find a path to the same command elsewhere, by ICE, and test it with data.

    Run it on both hosts.  Each prints a description in one line: paste it into the other.  Or let
    both use files that the other one can read.  It holds the session's password.

    Exit status: 0 data passes, 1 there is no path, or no probe came back, 2 wrong use, 3 the peer's
    description did not come.
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
        settings,
        trust(ca_file, insecure=insecure),
        None if proxy is None else Proxy.parse(proxy),
        ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor),
    )
    exchange = _Exchange(local, remote, wait, timeout, probes, interval, as_json)
    return asyncio.run(_connect(options, exchange))


async def _connect(options: IceOptions, exchange: _Exchange) -> ExitStatus:
    loop = asyncio.get_running_loop()
    async with open_agent(options) as agent:
        ours = await agent.gather()
        if "a=candidate:" not in ours:
            raise UnreachableError(
                "there is no candidate to tell the peer: natkit ice gather says why"
            )
        theirs = await _swap(ours, exchange)
        began = loop.time()
        try:
            async with asyncio.timeout(exchange.timeout):
                await agent.connect(theirs)
                took = loop.time() - began
                await agent.settle()
        except (TimeoutError, IceFailed):
            _tell_failure(agent, exchange)
            raise Fault(_why_not(agent.explain())) from None
        outcome = await exchange_probes(agent, exchange.probes, exchange.interval)
        pair = agent.selected_pair()
        if pair is None:
            raise Fault("the path was lost during the test")
        _tell(agent.explain(), pair, took, outcome, exchange)
    if not outcome.round_trips:
        raise Fault("a path was found, but none of the probes came back on it")
    return ExitStatus.GOOD


async def _swap(ours: str, exchange: _Exchange) -> str:
    """Tell the peer, and hear from it."""
    line = to_line(ours)
    prompt = sys.stderr if exchange.as_json else sys.stdout
    if exchange.local is not None:
        write_file(exchange.local, line)
    else:
        print("This is for the other side:", file=prompt)
        print(f"\n{line}\n", file=prompt, flush=True)
    if exchange.remote is not None:
        return from_line(await read_file(exchange.remote, exchange.wait))
    print("Paste the other side's line here:", file=prompt, flush=True)
    return from_line(await read_line())


# ── for people ──────────────────────────────────────────────────────────────────────────────────


def _tell(
    explanation: Explanation,
    pair: SelectedPair,
    took: float,
    outcome: Outcome,
    exchange: _Exchange,
) -> None:
    if exchange.as_json:
        print_json(_report(explanation, pair, took, outcome))
        return
    local, remote = pair.local, pair.remote
    rows = [
        Row("our side", f"{local} (sent from {pair.path.local})"),
        Row("their side", str(remote)),
        Row("found in", milliseconds(took)),
        *_latency(outcome),
    ]
    lost = f"{outcome.lost} of {outcome.sent}"
    rows.append(Row("lost", lost, "yellow" if outcome.lost else "green"))
    show(f"Connected, {_kind(pair)}", rows)
    others = [each for each in explanation.pairs if not _is(each, pair)]
    if others:
        _list_pairs("What else was tried, the better pairs first:", others)


def _latency(outcome: Outcome) -> list[Row]:
    trips = sorted(outcome.round_trips)
    if not trips:
        return [Row("round trip", "no probe came back", "red")]
    middle = trips[len(trips) // 2]
    text = f"{milliseconds(trips[0])} to {milliseconds(trips[-1])}, median {milliseconds(middle)}"
    return [Row("round trip", text)]


def _kind(pair: SelectedPair) -> str:
    """What the pair means, in words."""
    kinds = {pair.local.type, pair.remote.type}
    if CandidateType.RELAYED in kinds:
        who = "both sides" if len(kinds) == 1 else "one side"
        return f"relayed by the TURN server of {who}"
    if kinds == {CandidateType.HOST}:
        return "directly, without a NAT between"
    return "directly, through the NATs between"


def _is(each: PairExplanation, pair: SelectedPair) -> bool:
    return each.nominated and each.remote.address == pair.remote.address


def _list_pairs(title: str, pairs: list[PairExplanation]) -> None:
    out = console()
    out.print(Text(title, style="bold"))
    for each in pairs[:MOST_PAIRS]:
        out.print(Text(f"  {each}"))
    if len(pairs) > MOST_PAIRS:
        out.print(Text(f"  … and {len(pairs) - MOST_PAIRS} more; --json has all"))


def _tell_failure(agent: Agent, exchange: _Exchange) -> None:
    explanation = agent.explain()
    if exchange.as_json:
        print_json(_report(explanation, None, None, None))
        return
    out = console()
    for remark in explanation.remarks:
        out.print(Text(remark))
    if explanation.pairs:
        _list_pairs("Every pair that was tried:", list(explanation.pairs))


def _why_not(explanation: Explanation) -> str:
    if not explanation.pairs:
        remarks = "; ".join(explanation.remarks) or "no two candidates go together"
        return f"there is no path to the peer: {remarks}"
    heard = sum(1 for each in explanation.pairs if each.heard)
    advice = "a TURN server on one side relays where nothing else passes"
    if any(each.local.type is CandidateType.RELAYED for each in explanation.pairs):
        advice = "not even through the relay: does the peer still run, with this description?"
    return (
        f"there is no path to the peer: {len(explanation.pairs)} pairs were tried, "
        f"on {heard} of them the peer was heard; {advice}"
    )


# ── for programs ────────────────────────────────────────────────────────────────────────────────


def _report(
    explanation: Explanation,
    pair: SelectedPair | None,
    took: float | None,
    outcome: Outcome | None,
) -> dict[str, object]:
    return {
        "connected": pair is not None,
        "time_to_connect": took,
        "pair": None
        if pair is None
        else {
            "local": candidate_object(pair.local),
            "remote": candidate_object(pair.remote),
            "round_trip": pair.round_trip,
        },
        "probes": None if outcome is None else _probes_object(outcome),
        "pairs": [
            {
                "local": candidate_object(each.local),
                "remote": candidate_object(each.remote),
                "state": str(each.state),
                "selected": pair is not None and _is(each, pair),
                "reason": each.reason,
                "sent": each.sent,
                "heard": each.heard,
                "round_trip": each.round_trip,
            }
            for each in explanation.pairs
        ],
        "remarks": list(explanation.remarks),
    }


def _probes_object(outcome: Outcome) -> dict[str, object]:
    trips = outcome.round_trips
    times = None
    if trips:
        times = {"least": min(trips), "mean": sum(trips) / len(trips), "most": max(trips)}
    return {"sent": outcome.sent, "lost": outcome.lost, "round_trip": times}
