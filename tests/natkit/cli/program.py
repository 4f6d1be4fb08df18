"""A command of the common entry that fails on request."""

import sys
from typing import Annotated

import typer

from natkit.cli import entry
from natkit.errors import (
    ConfigError,
    DnsFailure,
    ErrorResponse,
    MalformedMessage,
    MisuseError,
    NoService,
    TransactionTimeout,
    UnreachableError,
)

RAISES = {
    "config": ConfigError("the file is wrong"),
    "misuse": MisuseError("the caller is wrong"),
    "unreachable": UnreachableError("nothing there"),
    "timeout": TransactionTimeout("no answer\nfrom it"),
    "dns": DnsFailure("no nameserver"),
    "no-service": NoService("the DNS answered: none"),
    "response": ErrorResponse.of(401, "Unauthenticated"),
    "malformed": MalformedMessage("garbage"),
    "interrupt": KeyboardInterrupt(),
    "os": FileNotFoundError(2, "No such file or directory", "/nowhere"),
    "defect": ZeroDivisionError("a bug"),
    "exit": typer.Exit(3),
    "package": ModuleNotFoundError("No module named 'structlog'", name="structlog.dev"),
    "own": ModuleNotFoundError("No module named 'natkit.gone'", name="natkit.gone"),
}
app = entry.application("Fails on request.", example="program fail timeout")


@app.command()
def fail(how: str) -> None:
    """Raise it."""
    with entry.extra("server", "program"):
        raise RAISES[how]


@app.command()
def show(
    server: Annotated[str, typer.Argument(parser=entry.socket_address, metavar="ADDRESS:PORT")],
    *,
    allow_peer: Annotated[
        list[str] | None, typer.Option("--allow-peer", parser=entry.network, metavar="CIDR")
    ] = None,
    as_json: entry.JsonOption = False,
) -> None:
    """Print the arguments."""
    if as_json:
        entry.print_json({"server": str(server), "networks": [str(n) for n in allow_peer or ()]})
    else:
        entry.console().print(f"[bold]{server}[/bold] " + "long " * 40)


@app.command()
def flood() -> None:
    """Print without end."""
    while True:
        print("line")


def main(arguments: list[str]) -> int:
    server = "--as-server" in arguments
    return entry.run(app, "program", server=server, arguments=arguments[server:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
