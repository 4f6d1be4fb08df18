"""``stun-server status``, ``sessions``, ``disconnect``, ``drain`` and ``reload``.

They ask the running server of a data directory, through the socket that it keeps there.
"""

import time
from typing import Annotated

import typer

from natkit.cli.entry import ExitStatus, JsonOption, console, print_json, report_error
from natkit.server.steering_commands import ConfigOption, DataDirOption, LimitOption, Operated
from stun_server.administration import SESSIONS, STATUS
from stun_server.shell.admin_commands import SocketAdministration
from stun_server.shell.showing import show_sessions, show_status
from stun_server.shell.state import PROGRAM

__all__ = ["register"]

OPERATED = Operated(PROGRAM, "server", "session", SocketAdministration)
"""The servers that the commands ask."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("status")(status)
    app.command("sessions")(sessions)
    app.command("disconnect")(disconnect)
    OPERATED.add_to(app)


def status(
    *, as_json: JsonOption = False, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Show how the running server fares."""
    found = OPERATED.ask(config, data_dir, lambda server: server.status())
    if as_json:
        print_json({"status": STATUS.dump_python(found, mode="json"), "ready": found.is_ready})
        return
    show_status(console(), found, time.time())


def sessions(
    *,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the live allocations, the oldest first."""
    found = OPERATED.ask(config, data_dir, lambda server: server.sessions(limit))
    if as_json:
        print_json({"sessions": SESSIONS.dump_python(found, mode="json")})
        return
    show_sessions(console(), found, time.time(), limit)


def disconnect(
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="As `sessions` and the log name it.")
    ],
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """End an allocation; its user may make another one."""
    ended = OPERATED.ask(config, data_dir, lambda server: server.disconnect(session))
    if as_json:
        print_json({"session": session, "ended": ended})
    elif ended:
        typer.echo(f"{session}: ended")
    if not ended:
        if not as_json:
            report_error(f"there is no session {session}; `stun-server sessions` lists them")
        raise typer.Exit(ExitStatus.FAULT)
