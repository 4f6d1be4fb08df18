"""The commands ``drain`` and ``reload``, and how a command asks a running server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import typer

from natkit.cli.entry import ExitStatus, JsonOption, print_json, report_error
from natkit.server.amounts import count, duration
from natkit.server.reports import DRAIN, RELOAD
from natkit.server.steering import SocketSteering
from natkit.server.whereabouts import place_of

__all__ = ["ConfigOption", "DataDirOption", "LimitOption", "Operated", "ask_running"]

T = TypeVar("T")
Asked = TypeVar("Asked")
Server = TypeVar("Server", bound=SocketSteering)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration of the one that is asked."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Its data directory. Default: the configuration's, else your own, else that of the "
        "service in /var/lib.",
    ),
]
LimitOption = Annotated[
    int, typer.Option(min=1, max=100_000, metavar="NUMBER", help="List so many at most.")
]


def ask_running(
    reach: Callable[[Path], Asked], data_dir: Path, question: Callable[[Asked], Awaitable[T]]
) -> T:
    """What the server of a data directory answers, which ``reach`` reaches."""

    async def main() -> T:
        return await question(reach(data_dir))

    return asyncio.run(main())


@dataclass(frozen=True, slots=True)
class Operated(Generic[Server]):
    """The servers of a program: what they are called, what they serve, how one is reached."""

    program: str
    noun: str
    """A "server", or a "proxy"."""
    served: str
    """One of what it must not cut short when it drains: a "session"."""
    reach: Callable[[Path], Server]

    def ask(
        self,
        config: Path | None,
        data_dir: Path | None,
        question: Callable[[Server], Awaitable[T]],
    ) -> T:
        """What the running one answers that is meant by the options."""
        return ask_running(self.reach, place_of(self.program, config, data_dir), question)

    def add_to(self, app: typer.Typer) -> None:
        """Add the two commands to the application."""
        self._add_drain(app)
        self._add_reload(app)

    def _add_drain(self, app: typer.Typer) -> None:
        limit_option = typer.Option(
            min=0,
            metavar="SECONDS",
            help=f"End after so long though a {self.served} lives. Default: limits.drain.",
        )
        ends = f"the {self.noun} ends after the last {self.served}"

        @app.command(help=f"Let nothing new begin; {ends}.")
        def drain(
            *,
            limit: Annotated[int | None, limit_option] = None,
            as_json: JsonOption = False,
            config: ConfigOption = None,
            data_dir: DataDirOption = None,
        ) -> None:
            begun = self.ask(config, data_dir, lambda server: server.drain(limit))
            if as_json:
                print_json({"drain": DRAIN.dump_python(begun, mode="json")})
            elif begun.sessions:
                left = duration(begun.until - time.time())
                typer.echo(
                    f"draining: {count(begun.sessions, self.served)} left, for {left} at most"
                )
            else:
                typer.echo(f"drained: no {self.served} is left, and the {self.noun} ends")

    def _add_reload(self, app: typer.Typer) -> None:
        read_again = "read its configuration and its certificates again"

        @app.command(help=f"Have the running {self.noun} {read_again}.")
        def reload(
            *,
            as_json: JsonOption = False,
            config: ConfigOption = None,
            data_dir: DataDirOption = None,
        ) -> None:
            report = self.ask(config, data_dir, lambda server: server.reload())
            if as_json:
                print_json({"reload": RELOAD.dump_python(report, mode="json")})
                raise typer.Exit(ExitStatus.GOOD if report.error is None else ExitStatus.FAULT)
            if report.error is not None:
                report_error(f"nothing was changed: {report.error}")
                raise typer.Exit(ExitStatus.FAULT)
            typer.echo(f"reloaded; changed: {', '.join(report.changed) or 'nothing'}")
            if report.needs_restart:
                typer.echo(f"these count after a restart: {', '.join(report.needs_restart)}")
