"""``natkit stun``: under which address a STUN server sees this host.

``--json`` prints one object::

    {"schema": 1,
     "server":
       {"transport": "udp", "address": "192.0.2.1", "port": 3478, "host": "stun.example.org"},
     "mapped_address": {"address": "198.51.100.7", "port": 40000},
     "local_address": {"address": "192.168.1.2", "port": 40000},
     "translated": true,
     "round_trip": 0.0123}

``translated``: whether mapped and local address differ; ``round_trip``: in seconds.
"""

import asyncio
from typing import Annotated

import typer

from natkit.aio.secure import Trust
from natkit.aio.stun import Binding, examine
from natkit.cli.entry import ExitStatus, JsonOption, print_json
from natkit.cli.findings import (
    CaFileOption,
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
from natkit.errors import NatkitError
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

__all__ = ["EXAMPLE", "TimeoutOption", "stun"]

EXAMPLE = "natkit stun stun.example.org:3478"

TimeoutOption = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.1, max=60.0, help="How long to wait for the server."),
]


def stun(
    server: Annotated[
        str,
        typer.Argument(metavar="SERVER", help="HOST, HOST:PORT, a stun: or a stuns: URI."),
    ],
    tcp: Annotated[bool, typer.Option("--tcp", help="Ask over TCP instead of UDP.")] = False,
    dtls: Annotated[
        bool, typer.Option("--dtls", help="Ask a stuns: server over DTLS instead of TLS.")
    ] = False,
    ca_file: CaFileOption = None,
    insecure: InsecureOption = False,
    timeout: TimeoutOption = 10.0,
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the address and port under which SERVER sees this host.

    A name without a port is looked up by SRV records, then by addresses (RFC 8489 §8).

    Exit status: 0 it answered, 1 it answered wrongly, 2 wrong use, 3 it could not be reached.
    """
    try:
        believed = trust(ca_file, insecure=insecure)
        options = ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor)
        found = asyncio.run(_examine(server, believed, timeout, options, tcp=tcp, dtls=dtls))
    except NatkitError as error:
        raise explain(error, server) from error
    if as_json:
        print_json(
            {
                "server": target_object(found.server),
                "mapped_address": as_object(found.mapped),
                "local_address": as_object(found.local),
                "translated": found.mapped != found.local,
                "round_trip": found.round_trip,
            }
        )
    else:
        _show(found)
    return ExitStatus.GOOD


async def _examine(
    server: str,
    believed: Trust,
    timeout: float,  # noqa: ASYNC109 - handed on
    options: ResolverOptions,
    *,
    tcp: bool,
    dtls: bool,
) -> Binding:
    # Of these the scheme of the URI takes the one that is meant.
    spoken = (Transport.TCP if tcp else Transport.UDP, Transport.DTLS if dtls else Transport.TLS)
    async with open_locator(options, spoken) as locator:
        return await examine(
            server, tcp=tcp, dtls=dtls, timeout=timeout, locator=locator, trust=believed
        )


def _show(found: Binding) -> None:
    translated = found.mapped != found.local
    show(
        f"{found.server.address} over {found.server.transport.upper()} answers",
        [
            Row("mapped address", str(found.mapped), "green"),
            Row("local address", str(found.local)),
            Row("translation", "yes, by a NAT on the way" if translated else "none"),
            Row("round trip", milliseconds(found.round_trip)),
        ],
    )
