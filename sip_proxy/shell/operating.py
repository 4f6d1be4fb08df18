"""``sip-proxy status``, ``registrations``, ``drain`` and ``reload``.

They ask the running proxy of a data directory, through the socket that it keeps there.
"""

import time
from typing import Annotated

import typer

from natkit.cli.entry import ExitStatus, JsonOption, console, print_json, report_error
from natkit.server.steering_commands import ConfigOption, DataDirOption, LimitOption, Operated
from sip_proxy.administration import REGISTRATIONS, STATUS
from sip_proxy.shell.admin_commands import SocketAdministration
from sip_proxy.shell.showing import show_registrations, show_status
from sip_proxy.shell.state import PROGRAM

__all__ = ["register"]

OPERATED = Operated(PROGRAM, "proxy", "transaction", SocketAdministration)
"""The proxies that the commands ask."""

registrations_app = typer.Typer(help="List and remove registrations.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("status")(status)
    app.add_typer(registrations_app, name="registrations")
    OPERATED.add_to(app)


def status(
    *, as_json: JsonOption = False, config: ConfigOption = None, data_dir: DataDirOption = None
) -> None:
    """Show how the running proxy fares."""
    found = OPERATED.ask(config, data_dir, lambda proxy: proxy.status())
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
    found = OPERATED.ask(config, data_dir, lambda proxy: proxy.registrations(limit, user))
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
    removed = OPERATED.ask(config, data_dir, lambda proxy: proxy.unregister(user))
    if as_json:
        print_json({"user": user, "removed": removed})
    elif removed:
        typer.echo(f"{user}: removed")
    if not removed:
        if not as_json:
            report_error(f"{user} is not registered; `sip-proxy registrations list` shows who is")
        raise typer.Exit(ExitStatus.FAULT)
