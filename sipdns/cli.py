"""The ``sipdns`` command."""

import asyncio
import random
from collections.abc import Sequence
from typing import Annotated

import typer

from natkit.cli.entry import (
    ExitStatus,
    JsonOption,
    application,
    console,
    print_json,
    report_error,
)
from natkit.cli.entry import run as run_application
from natkit.errors import DnsFailure
from natkit.machine import Transport
from sipdns.cli_check import EXAMPLE as CHECK_EXAMPLE
from sipdns.cli_check import check
from sipdns.cli_enum import EXAMPLE as ENUM_EXAMPLE
from sipdns.cli_enum import enum
from sipdns.cli_options import read_transports
from sipdns.cli_resolver import (
    DohOption,
    DotOption,
    ResolverCaOption,
    ResolverOption,
    ResolverOptions,
    TrustAnchorOption,
    ValidateOption,
)
from sipdns.cli_zone import EXAMPLE as ZONE_EXAMPLE
from sipdns.cli_zone import zone
from sipdns.locator import Locator
from sipdns.report import as_json, as_text
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.srv_order import Draw
from sipdns.system import system_draw, system_hosts
from sipdns.targets import Outcome

__all__ = ["run"]

EXAMPLE = "sipdns resolve sip:alice@example.org --transports tls,tcp"

app = application("Find the servers of a SIP URI by DNS (RFC 3263), and say why.", example=EXAMPLE)


@app.command(epilog=f"Example: {EXAMPLE}")
def resolve(
    uri: Annotated[
        str,
        typer.Argument(
            metavar="URI", help="A sip: or sips: URI, or a domain; stun: and turn: URIs as well."
        ),
    ],
    transports: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="What the client speaks, by commas, most preferred first."
        ),
    ] = ",".join(DEFAULT_TRANSPORTS),
    resolver: ResolverOption = None,
    dot: DotOption = False,
    doh: DohOption = None,
    resolver_ca: ResolverCaOption = None,
    validate: ValidateOption = False,
    trust_anchor: TrustAnchorOption = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw the order of equal servers from this number, the same each time."),
    ] = None,
    as_object: JsonOption = False,
) -> int:
    """Print the servers of URI in the order to try, and the decisions that led to them.

    Exit status: 0 found, 1 there is none, 2 wrong use, 3 the DNS did not answer.
    """
    draw = system_draw if seed is None else random.Random(seed).randrange  # noqa: S311 - to be repeated
    spoken = read_transports(transports)
    options = ResolverOptions(resolver, dot, doh, resolver_ca, validate, trust_anchor)
    outcome = asyncio.run(_explain(uri, spoken, draw, options))
    if as_object:
        print_json(as_json(outcome))
    else:
        console().print(as_text(outcome))
    if outcome.error is None:
        return ExitStatus.GOOD
    report_error(str(outcome.error))
    failed = isinstance(outcome.error, DnsFailure)
    return ExitStatus.NOT_TESTED if failed else ExitStatus.FAULT


async def _explain(
    uri: str, transports: Sequence[Transport], draw: Draw, options: ResolverOptions
) -> Outcome:
    # The hosts file belongs to the system's resolver: whoever names another one wants its answers.
    hosts = system_hosts() if options == ResolverOptions() else None
    async with options.open() as dns:
        locator = Locator(dns=dns, hosts=hosts, transports=transports, draw=draw)
        return await locator.explain(uri)


app.command(epilog=f"Example: {CHECK_EXAMPLE}")(check)
app.command(epilog=f"Example: {ZONE_EXAMPLE}")(zone)
app.command(epilog=f"Example: {ENUM_EXAMPLE}")(enum)


def run() -> int:
    """The entry point; gives the exit status."""
    return run_application(app, "sipdns")
