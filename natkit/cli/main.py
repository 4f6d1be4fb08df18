"""The ``natkit`` command: what the library does, from a shell."""

import sys

from natkit.cli import ice, keepalive, nat, stun, turn
from natkit.cli import map as map_command
from natkit.cli.entry import application
from natkit.cli.entry import run as run_application

__all__ = ["run"]

app = application(
    "Ask STUN and TURN servers, and see what a NAT does.",
    example="natkit stun stun.example.org",
)
app.command(name="stun", epilog=f"Example: {stun.EXAMPLE}")(stun.stun)
app.command(name="turn", epilog=f"Example: {turn.EXAMPLE}")(turn.turn)
app.command(name="nat", epilog=f"Example: {nat.EXAMPLE}")(nat.nat)
app.command(name="map", epilog=f"Example: {map_command.EXAMPLE}")(map_command.map_port)
app.add_typer(ice.app, name="ice")
app.command(name="keepalive", epilog=f"Example: {keepalive.EXAMPLE}")(keepalive.keepalive)


def run() -> int:
    """The entry point; gives the exit status."""
    return run_application(app, "natkit")


if __name__ == "__main__":
    sys.exit(run())
