"""What ``natkit ice gather`` and ``natkit ice connect`` take alike: servers and candidates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Final

import typer

from natkit.address import Family
from natkit.aio.ice import Agent
from natkit.aio.secure import Trust
from natkit.cli.locating import open_locator
from natkit.cli.turn import PASSWORD_VARIABLE, SPOKEN
from natkit.errors import MisuseError
from natkit.gather import GatherSettings, Policy, PortRange, StunServer, TurnServer
from natkit.net.proxy import Proxy
from natkit.stun.uri import ServerUri
from sipdns.cli_resolver import ResolverOptions

__all__ = [
    "IceOptions",
    "InterfaceOption",
    "Ipv4Option",
    "Ipv6Option",
    "LoopbackOption",
    "PasswordOption",
    "PortMappingOption",
    "PortsOption",
    "ProxyOption",
    "RelayOnlyOption",
    "ServersArgument",
    "TcpOption",
    "UserOption",
    "gather_settings",
    "open_agent",
]

ServersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="URI",
        help="stun:, turn: and turns: URIs of servers, all of which are asked.",
    ),
]
UserOption = Annotated[
    str, typer.Option(metavar="NAME", help="The user's name at the TURN servers.")
]
PasswordOption = Annotated[
    str,
    typer.Option(metavar="PASSWORD", envvar=PASSWORD_VARIABLE, help="The user's password there."),
]
RelayOnlyOption = Annotated[
    bool, typer.Option("--relay-only", help="Relayed candidates alone: tell no address of ours.")
]
TcpOption = Annotated[bool, typer.Option("--tcp", help="TCP candidates, too (RFC 6544).")]
PortMappingOption = Annotated[
    bool,
    typer.Option(
        "--port-mapping", help="Have the default gateway map ports, by PCP, NAT-PMP or UPnP."
    ),
]
InterfaceOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Use this interface; repeatable. Default: all."),
]
PortsOption = Annotated[
    str | None,
    typer.Option(metavar="FIRST-LAST", help="Use local UDP ports of this range. Default: any."),
]
LoopbackOption = Annotated[
    bool, typer.Option("--loopback", help="Use loopback addresses, too: for peers on this host.")
]
Ipv4Option = Annotated[bool, typer.Option("--ipv4", "-4", help="IPv4 alone.")]
Ipv6Option = Annotated[bool, typer.Option("--ipv6", "-6", help="IPv6 alone.")]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="Reach TURN servers over TCP and TLS through this proxy: "
        "socks5:// or http://[user:password@]host[:port].",
    ),
]

_NO_USER: Final = "needs --user and --password, as every TURN server does"


@dataclass(frozen=True, slots=True)
class IceOptions:
    """What the flags say."""

    gathering: GatherSettings
    trust: Trust
    proxy: Proxy | None
    resolver: ResolverOptions


def gather_settings(
    servers: list[str] | None,
    user: str,
    password: str,
    *,
    relay_only: bool,
    tcp: bool,
    port_mapping: bool,
    interfaces: list[str] | None,
    ports: str | None,
    loopback: bool,
    ipv4: bool,
    ipv6: bool,
) -> GatherSettings:
    """The settings of a gatherer; MisuseError for what contradicts itself."""
    if ipv4 and ipv6:
        raise MisuseError("--ipv4 and --ipv6 exclude each other; both is the default")
    named = tuple(_server(each, user, password) for each in servers or ())
    has_relay = any(isinstance(each, TurnServer) for each in named)
    if relay_only and not has_relay:
        raise MisuseError("--relay-only needs a turn: or turns: server")
    if user and not has_relay:
        raise MisuseError("--user names a user of TURN servers, and none is given")
    families = {Family.IPV4, Family.IPV6}
    if ipv4 or ipv6:
        families = {Family.IPV4 if ipv4 else Family.IPV6}
    settings = GatherSettings(
        servers=named,
        policy=Policy.RELAY if relay_only else Policy.ALL,
        families=frozenset(families),
        loopback=loopback,
        ports=None if ports is None else _ports(ports),
        tcp=tcp,
        port_mapping=port_mapping,
    )
    if interfaces:
        wanted = frozenset(interfaces)
        settings = replace(settings, interface_filter=wanted.__contains__)
    return settings


@asynccontextmanager
async def open_agent(options: IceOptions) -> AsyncIterator[Agent]:
    """An agent as the flags have it; two of them settle by themselves who controls."""
    async with (
        open_locator(options.resolver, SPOKEN) as locator,
        Agent(
            gathering=options.gathering,
            locator=locator,
            trust=options.trust,
            proxy=options.proxy,
        ) as agent,
    ):
        yield agent


def _server(text: str, user: str, password: str) -> StunServer | TurnServer:
    if not ServerUri.parse(text).scheme.is_turn:
        return StunServer(text)
    if not user:
        raise MisuseError(f"{text} {_NO_USER}")
    return TurnServer(text, user, password)


def _ports(text: str) -> PortRange:
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise MisuseError(f"--ports: {text!r} is no range like 50000-50999")
    return PortRange(int(first), int(last))
