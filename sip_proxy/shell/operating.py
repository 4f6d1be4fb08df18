"""``sip-proxy status``, ``registrations``, ``drain`` and ``reload``.

They ask the running proxy of a data directory, through the socket that it keeps there.
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
from sip_proxy.administration import DRAIN, REGISTRATIONS, RELOAD, STATUS
from sip_proxy.shell.admin_commands import SocketAdministration
from sip_proxy.shell.showing import show_registrations, show_status
from sip_proxy.shell.state import PROGRAM, SYSTEM_DATA_DIR

__all__ = ["ConfigOption", "DataDirOption", "register"]

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The proxy's configuration.")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The proxy's data directory. Default: the configuration's, else your own proxy's, "
        f"else {SYSTEM_DATA_DIR}.",
    ),
]
LimitOption = Annotated[
    int, typer.Option(min=1, max=100_000, metavar="NUMBER", help="List so many at most.")
]

registrations_app = typer.Typer(help="List and remove registrations.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("status")(status)
    app.add_typer(registrations_app, name="registrations")
    app.command("drain")(drain)
    app.command("reload")(reload)


def status(
    *, as_json: JsonOption = False, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Show how the running proxy fares."""
    found = _ask(config, data_dir, lambda proxy: proxy.status())
    if as_json:
        print_json({"status": STATUS.dump_python(found, mode="json"), "ready": found.is_ready})
        return
    show_status(console(), found, time.time())


@registrations_app.command("list")
def list_registrations(
    user: Annotated[
        str | None,
        typer.Argument(metavar="[USER]", help="An address of record, or its part before the @."),
    ] = None,
    *,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List who is registered, and where each is reached."""
    found = _ask(config, data_dir, lambda proxy: proxy.registrations(limit, user))
    if as_json:
        print_json({"registrations": REGISTRATIONS.dump_python(found, mode="json")})
        return
    show_registrations(console(), found, time.time(), limit)


@registrations_app.command("remove")
def remove_registration(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="An address of record, or its part before the @.")
    ],
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Forget where a user is reached; its phones may register again."""
    removed = _ask(config, data_dir, lambda proxy: proxy.unregister(user))
    if as_json:
        print_json({"user": user, "removed": removed})
    elif removed:
        typer.echo(f"{user}: removed")
    if not removed:
        if not as_json:
            report_error(f"{user} is not registered; `sip-proxy registrations list` shows who is")
        raise typer.Exit(ExitStatus.FAULT)


def drain(
    *,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="End after so long though transactions live. Default: limits.drain.",
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Let nothing new begin; end after the last transaction."""
    begun = _ask(config, data_dir, lambda proxy: proxy.drain(limit))
    if as_json:
        print_json({"drain": DRAIN.dump_python(begun, mode="json")})
    elif begun.sessions:
        left = duration(begun.until - time.time())
        typer.echo(f"draining: {count(begun.sessions, 'transaction')} left, for {left} at most")
    else:
        typer.echo("drained: no transaction is left, and the proxy ends")


def reload(
    *, as_json: JsonOption = False, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Read the configuration and the certificates again."""
    report = _ask(config, data_dir, lambda proxy: proxy.reload())
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
    proxy = SocketAdministration(place_of(PROGRAM, config, data_dir))

    async def main() -> T:
        return await question(proxy)

    return asyncio.run(main())
