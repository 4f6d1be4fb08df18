"""``stun-server status``, ``sessions``, ``disconnect``, ``drain`` and ``reload``.

They ask the running server of a data directory, through the socket that it keeps there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from natkit.cli.entry import ExitStatus, JsonOption, console, print_json, report_error
from natkit.server.amounts import count, duration
from natkit.server.whereabouts import place_of
from stun_server.administration import DRAIN, RELOAD, SESSIONS, STATUS
from stun_server.shell.admin_commands import SocketAdministration
from stun_server.shell.showing import show_sessions, show_status
from stun_server.shell.state import PROGRAM, SYSTEM_DATA_DIR

__all__ = ["register"]

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The server's configuration.")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The server's data directory. Default: the configuration's, else your own server's, "
        f"else {SYSTEM_DATA_DIR}.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("status")(status)
    app.command("sessions")(sessions)
    app.command("disconnect")(disconnect)
    app.command("drain")(drain)
    app.command("reload")(reload)


def status(
    *, as_json: JsonOption = False, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Show how the running server fares."""
    found = _ask(config, data_dir, lambda server: server.status())
    if as_json:
        print_json({"status": STATUS.dump_python(found, mode="json"), "ready": found.is_ready})
        return
    show_status(console(), found, time.time())


def sessions(
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="NUMBER", help="List so many at most.")
    ] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the live allocations, the oldest first."""
    found = _ask(config, data_dir, lambda server: server.sessions(limit))
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
    ended = _ask(config, data_dir, lambda server: server.disconnect(session))
    if as_json:
        print_json({"session": session, "ended": ended})
    elif ended:
        typer.echo(f"{session}: ended")
    if not ended:
        if not as_json:
            report_error(f"there is no session {session}; `stun-server sessions` lists them")
        raise typer.Exit(ExitStatus.FAULT)


def drain(
    *,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="End after so long though allocations live. Default: limits.drain.",
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Grant no more allocations, and end once the last one is gone."""
    begun = _ask(config, data_dir, lambda server: server.drain(limit))
    if as_json:
        print_json({"drain": DRAIN.dump_python(begun, mode="json")})
    elif begun.sessions:
        left = duration(begun.until - time.time())
        typer.echo(f"draining: {count(begun.sessions, 'session')} left, for {left} at most")
    else:
        typer.echo("drained: no session is left, and the server ends")


def reload(
    *, as_json: JsonOption = False, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Have the running server read its configuration and its certificate again."""
    report = _ask(config, data_dir, lambda server: server.reload())
    if as_json:
        print_json({"reload": RELOAD.dump_python(report, mode="json")})
        raise typer.Exit(ExitStatus.GOOD if report.error is None else ExitStatus.FAULT)
    if report.error is not None:
        report_error(f"nothing was changed: {report.error}")
        raise typer.Exit(ExitStatus.FAULT)
    typer.echo(f"reloaded; changed: {', '.join(report.changed) or 'nothing'}")
    if report.needs_restart:
        typer.echo(f"these count after a restart: {', '.join(report.needs_restart)}")


def _ask(
    config: Path | None,
    data_dir: Path | None,
    question: Callable[[SocketAdministration], Awaitable[T]],
) -> T:
    server = SocketAdministration(place_of(PROGRAM, config, data_dir))

    async def main() -> T:
        return await question(server)

    return asyncio.run(main())
