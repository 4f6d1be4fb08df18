"""The ``sipdns`` command."""

import asyncio
import random
from typing import Annotated

import typer

from natkit.address import Address
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
from sipdns.cli_check import EXAMPLE as CHECK_EXAMPLE
from sipdns.cli_check import check
from sipdns.cli_options import nameserver, read_transports
from sipdns.cli_zone import EXAMPLE as ZONE_EXAMPLE
from sipdns.cli_zone import zone
from sipdns.locator import Locator
from sipdns.report import as_json, as_text
from sipdns.services import DEFAULT_TRANSPORTS
from sipdns.system import system_draw

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
    resolver: Annotated[
        list[Address] | None,
        typer.Option(
            metavar="ADDRESS[:PORT]",
            parser=nameserver,
            help="A nameserver to ask instead of the system's; may be given again.",
        ),
    ] = None,
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
    locator = Locator(
        nameservers=resolver or None, transports=read_transports(transports), draw=draw
    )
    outcome = asyncio.run(locator.explain(uri))
    if as_object:
        print_json(as_json(outcome))
    else:
        console().print(as_text(outcome))
    if outcome.error is None:
        return ExitStatus.GOOD
    report_error(str(outcome.error))
    failed = isinstance(outcome.error, DnsFailure)
    return ExitStatus.NOT_TESTED if failed else ExitStatus.FAULT


app.command(epilog=f"Example: {CHECK_EXAMPLE}")(check)
app.command(epilog=f"Example: {ZONE_EXAMPLE}")(zone)


def run() -> int:
    """The entry point; gives the exit status."""
    return run_application(app, "sipdns")
