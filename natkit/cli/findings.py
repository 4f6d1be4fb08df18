"""What the diagnosing commands share: how they show results, and say what went wrong."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.text import Text

from natkit.address import Address
from natkit.aio.secure import Trust
from natkit.cli.entry import console
from natkit.errors import (
    ErrorResponse,
    InsufficientCapacity,
    IntegrityViolation,
    MalformedMessage,
    MisuseError,
    NatkitError,
    QuotaReached,
    TlsFailed,
    TransactionTimeout,
    TryAlternate,
    Unauthenticated,
    WrongCredentials,
)
from natkit.locate import Target
from natkit.stun.registry import REASON_PHRASES

__all__ = [
    "CaFileOption",
    "Fault",
    "InsecureOption",
    "Row",
    "as_object",
    "explain",
    "folded",
    "milliseconds",
    "show",
    "target_object",
    "told",
    "trust",
]


CaFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="PEM file of the authorities that may vouch for a server. Default: the system's.",
    ),
]

InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Take any certificate, so that anybody could be the server. For tests."
    ),
]


class Fault(NatkitError):
    """The server answered, and something is wrong with it or with what it was asked."""


def explain(error: NatkitError, server: str) -> NatkitError:
    """The error as its reader needs it: which server, what is wrong, what to do about it."""
    match error:
        case TransactionTimeout():
            return TransactionTimeout(
                f"no answer from {server}: check name and port, and whether a firewall is between"
            )
        case Unauthenticated() | WrongCredentials():
            return Fault(
                f"{server} refuses the credentials ({told(error)}): check --user and --password"
            )
        case QuotaReached():
            return Fault(
                f"{server} grants this user no more allocations ({told(error)}): "
                "end others, or wait until they expire"
            )
        case InsufficientCapacity():
            return Fault(
                f"{server} has no relayed address to give ({told(error)}): try again later"
            )
        case TryAlternate():
            servers = ", ".join(map(str, error.servers)) or "none"
            return Fault(f"{server} sends us to another server ({told(error)}): {servers}")
        case TlsFailed():
            return Fault(str(error))
        case ErrorResponse():
            return Fault(f"{server} refuses: {told(error)}")
        case IntegrityViolation():
            return Fault(f"{server} answers, but not with our credentials: {error}")
        case MalformedMessage():
            return Fault(f"{server} answers, but not as the protocol says: {error}")
        case _:
            return error


def trust(ca_file: Path | None, *, insecure: bool) -> Trust:
    """What --ca-file and --insecure say; MisuseError when they contradict each other."""
    if ca_file is not None and insecure:
        raise MisuseError("--ca-file and --insecure exclude each other")
    return Trust(ca_file, verify=not insecure)


def told(error: NatkitError) -> str:
    """An error in a few words: a server's code with its reason, or its name."""
    if isinstance(error, ErrorResponse):
        reason = error.reason or REASON_PHRASES.get(error.code, "")
        return f"{error.code} {reason}".rstrip()
    return str(error)


class Row(NamedTuple):
    """One line of a result; ``style`` is what rich makes of it on a terminal."""

    name: str
    value: str
    style: str = ""


def show(title: str, rows: Sequence[Row]) -> None:
    """Print a title and aligned rows; what is too long goes on below itself."""
    width = max(len(row.name) for row in rows)
    out = console()
    # As Text: rich would take the brackets of an IPv6 address for markup.
    out.print(Text(title, style="bold"))
    for row in rows:
        first, *rest = folded(row.value, out, width + 4)
        out.print(Text.assemble(f"  {row.name:<{width}}  ", (first, row.style)))
        for line in rest:
            out.print(Text.assemble(" " * (width + 4), (line, row.style)))


def folded(text: str, out: Console, indent: int) -> list[str]:
    """The lines that a text takes behind an indent; one where nobody's window limits them.

    No word is broken.
    """
    if out.soft_wrap or len(text) <= out.width - indent:
        return [text]
    width = max(out.width - indent, 1)
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [text]


def milliseconds(seconds: float) -> str:
    """A short time for people."""
    return f"{seconds * 1000:.1f} ms"


def as_object(address: Address | None) -> dict[str, object] | None:
    """An address in JSON."""
    return None if address is None else {"address": address.host, "port": address.port}


def target_object(server: Target) -> dict[str, object]:
    """A server that answered, in JSON."""
    return {
        "transport": str(server.transport),
        "address": server.address.host,
        "port": server.address.port,
        "host": server.host,
    }
