"""The ``natkit`` command: what the library does, from a shell."""

import sys
from collections.abc import Callable, Mapping, Sequence

from natkit.cli.entry import application
from natkit.cli.entry import run as run_application

__all__ = ["run"]

app = application(
    "Ask STUN and TURN servers, and see what a NAT does.",
    example="natkit stun stun.example.org",
)

# Each is imported when it is called for: together they take three times as long to load as one.


def _add_stun() -> None:
    from natkit.cli import stun

    app.command(name="stun", epilog=f"Example: {stun.EXAMPLE}")(stun.stun)


def _add_turn() -> None:
    from natkit.cli import turn

    app.command(name="turn", epilog=f"Example: {turn.EXAMPLE}")(turn.turn)


def _add_nat() -> None:
    from natkit.cli import nat

    app.command(name="nat", epilog=f"Example: {nat.EXAMPLE}")(nat.nat)


def _add_map() -> None:
    from natkit.cli import map as port_mapping

    app.command(name="map", epilog=f"Example: {port_mapping.EXAMPLE}")(port_mapping.map_port)


def _add_ice() -> None:
    from natkit.cli import ice

    app.add_typer(ice.app, name="ice")


def _add_keepalive() -> None:
    from natkit.cli import keepalive

    app.command(name="keepalive", epilog=f"Example: {keepalive.EXAMPLE}")(keepalive.keepalive)


_COMMANDS: Mapping[str, Callable[[], None]] = {
    "stun": _add_stun,
    "turn": _add_turn,
    "nat": _add_nat,
    "map": _add_map,
    "ice": _add_ice,
    "keepalive": _add_keepalive,
}


def run(arguments: Sequence[str] | None = None) -> int:
    """The entry point; gives the exit status.  ``arguments`` replaces those of the process."""
    given = sys.argv[1:] if arguments is None else arguments
    called_for = _COMMANDS.get(given[0] if given else "")
    # --help lists all of them.
    for add in _COMMANDS.values() if called_for is None else (called_for,):
        add()
    return run_application(app, "natkit", arguments=given)


if __name__ == "__main__":
    sys.exit(run())
