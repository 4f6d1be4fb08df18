"""``natkit map``: which ports of the gateway lead here, by PCP, NAT-PMP or UPnP.

``--json`` prints one object when the outcome is known::

    {"schema": 1,
     "gateway": "192.168.1.1",
     "methods": {"pcp": "yes", "nat-pmp": "yes, 198.51.100.7", "upnp": "… is no UPnP gateway"},
     "mapping":
       {"method": "pcp", "protocol": "udp",
        "internal": {"address": "192.168.1.2", "port": 40000},
        "external": {"address": "198.51.100.7", "port": 40000}, "lifetime": 7200},
     "mapped_address": "198.51.100.7",
     "another_nat": false}

``mapping`` is null without a PORT, ``mapped_address`` and ``another_nat`` are null without
``--stun``.  A method that was not asked yet when another one granted has no entry.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from natkit.address import Family
from natkit.aio.portmap import (
    METHODS,
    MappedPort,
    MappingRefused,
    PortMapping,
    map_on,
    open_gateway,
)
from natkit.aio.stun import binding
from natkit.cli.entry import ExitStatus, JsonOption, print_json
from natkit.cli.findings import Fault, Row, as_object, show
from natkit.errors import MisuseError
from natkit.portmap import GatewayRestarted, Mapped, Mapping, MappingLost, Method, Protocol, Wish

__all__ = ["EXAMPLE", "map_port"]

NAMES = {Method.PCP: "PCP", Method.NAT_PMP: "NAT-PMP", Method.UPNP: "UPnP"}
EXAMPLE = "natkit map 40000 --udp"


@dataclass(frozen=True, slots=True)
class _Options:
    """What the flags say."""

    gateway: str | None
    family: Family
    methods: tuple[Method, ...]
    leases: Path | None
    stun: str | None
    hold: float | None
    as_json: bool


def map_port(
    port: Annotated[
        int | None,
        typer.Argument(
            metavar="[PORT]",
            min=1,
            max=65535,
            help="The port of this host. Without it the gateway is only asked what it speaks.",
        ),
    ] = None,
    tcp: Annotated[bool, typer.Option("--tcp", help="Map a TCP port.")] = False,
    udp: Annotated[bool, typer.Option("--udp", help="Map a UDP port; the default.")] = False,
    external_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="The gateway's port to ask for; 0: any."
        ),
    ] = 0,
    lifetime: Annotated[
        int,
        typer.Option(metavar="SECONDS", min=60, max=86_400, help="How long to ask for at a time."),
    ] = 7200,
    hold: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="SECONDS",
            min=0.0,
            help="Keep the mapping for so long, then remove it. Default: until Ctrl-C.",
        ),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ask this one. Default: the system's gateway."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="pcp, nat-pmp or upnp; repeatable. Default: all."),
    ] = None,
    ipv6: Annotated[
        bool, typer.Option("--ipv6", help="Open a pinhole for this host's IPv6 address.")
    ] = False,
    stun: Annotated[
        str | None,
        typer.Option(
            metavar="SERVER",
            help="Compare with what this STUN server sees: is the gateway behind another NAT?",
        ),
    ] = None,
    leases: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Remember mappings here, and remove what a crash left behind."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Have a port of the gateway lead to PORT of this host, and keep it.

    Exit status: 0 it is mapped, 1 the gateway refuses or another NAT lies behind it, 2 wrong use,
    3 there is no gateway.
    """
    if tcp and udp:
        raise MisuseError("--tcp and --udp exclude each other: map one at a time")
    options = _Options(
        gateway,
        Family.IPV6 if ipv6 else Family.IPV4,
        _methods(method),
        leases,
        stun,
        hold,
        as_json,
    )
    protocol = Protocol.TCP if tcp else Protocol.UDP
    wish = None if port is None else Wish(protocol, port, external_port, lifetime=lifetime)
    try:
        return asyncio.run(_run(wish, options))
    except MappingRefused as error:
        raise Fault(str(error)) from error


def _methods(given: list[str] | None) -> tuple[Method, ...]:
    if not given:
        return METHODS
    known = {each.value: each for each in METHODS}
    wrong = [each for each in given if each.lower() not in known]
    if wrong:
        raise MisuseError(f"--method: {wrong[0]!r} is none of {', '.join(known)}")
    return tuple(known[each.lower()] for each in given)


async def _run(wish: Wish | None, options: _Options) -> int:
    async with open_gateway(
        gateway=options.gateway,
        family=options.family,
        methods=options.methods,
        leases=options.leases,
    ) as gateway:
        if wish is None:
            return await _probe(gateway, options)
        async with map_on(gateway, wish) as mapped:
            seen = await _seen(options)
            another_nat = seen is not None and seen != mapped.external.host
            _report(gateway, mapped.mapping, seen, options)
            await _hold(mapped, options)
    return ExitStatus.FAULT if another_nat else ExitStatus.GOOD


async def _probe(gateway: PortMapping, options: _Options) -> int:
    await gateway.probe()
    _report(gateway, None, await _seen(options), options)
    speaks = any(answer.startswith("yes") for answer in gateway.answers.values())
    return ExitStatus.GOOD if speaks else ExitStatus.FAULT


async def _seen(options: _Options) -> str | None:
    """The address that a STUN server sees, if one was named."""
    if options.stun is None:
        return None
    return (await binding(options.stun, timeout=10.0)).host


async def _hold(mapped: MappedPort, options: _Options) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(options.hold):
            async for event in mapped:
                match event:
                    case Mapped(_, mapping):
                        _say(f"renewed: {mapping.external}", options)
                    case MappingLost(_, reason):
                        _say(f"lost: {reason}; asking on", options)
                    case GatewayRestarted():
                        _say("the gateway restarted; asking again", options)
                    case _:
                        pass


def _say(line: str, options: _Options) -> None:
    if not options.as_json:
        typer.echo(line)


def _report(
    gateway: PortMapping, mapping: Mapping | None, seen: str | None, options: _Options
) -> None:
    another_nat = None
    if seen is not None and mapping is not None:
        another_nat = seen != mapping.external.host
    if options.as_json:
        print_json(
            {
                "gateway": gateway.gateway,
                "methods": {method.value: said for method, said in gateway.answers.items()},
                "mapping": None if mapping is None else _mapping_object(mapping),
                "mapped_address": seen,
                "another_nat": another_nat,
            }
        )
        return
    rows = [
        Row(NAMES[method], said, "green" if said.startswith("yes") else "")
        for method, said in gateway.answers.items()
    ]
    if mapping is None:
        show(f"gateway {gateway.gateway}", rows)
        return
    protocol = mapping.wish.protocol.name
    mapped_rows = [
        Row("external", f"{mapping.external} ({protocol})", "green"),
        Row("internal", str(mapping.internal)),
        Row("granted by", f"{mapping.gateway.host}, {NAMES[mapping.method]}"),
        Row("lifetime", f"{mapping.lifetime:.0f} s, renewed" if mapping.lifetime else "no end"),
    ]
    if seen is not None:
        words = f"STUN sees {seen}: another NAT lies behind the gateway" if another_nat else "none"
        mapped_rows.append(Row("more NATs", words, "red" if another_nat else ""))
    show(f"{protocol} port {mapping.wish.internal_port} is mapped", mapped_rows)
    if options.hold is None:
        typer.echo("Ctrl-C removes it.")


def _mapping_object(mapping: Mapping) -> dict[str, object]:
    return {
        "method": mapping.method.value,
        "protocol": mapping.wish.protocol.name.lower(),
        "internal": as_object(mapping.internal),
        "external": as_object(mapping.external),
        "lifetime": mapping.lifetime,
    }
