"""``sip-proxy calls``, ``transactions`` and ``trace``: they ask the running proxy."""

import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from natkit.cli.entry import ExitStatus, JsonOption, console, print_json, report_error
from natkit.errors import ConfigError
from natkit.server.amounts import count, duration
from natkit.server.steering_commands import ConfigOption, DataDirOption, ask_running
from natkit.server.whereabouts import place_of
from sip_proxy.shell.call_watch_socket import SocketWatching
from sip_proxy.shell.state import PROGRAM
from sip_proxy.trace import RecentCall
from sip_proxy.trace.text import as_text
from sip_proxy.watching import (
    CALLS,
    LADDER,
    RECENT,
    TRANSACTIONS,
    CallList,
    TransactionList,
    Watching,
)

__all__ = ["register"]

T = TypeVar("T")

NARROWEST: Final = 40
"""Columns of a terminal that a ladder is drawn for, at the least."""

WIDEST_STATE: Final = 15
"""Columns for how a call ended: reasons are long, and URIs want the room more."""

LimitOption = Annotated[
    int, typer.Option(min=1, max=1_000, metavar="NUMBER", help="List so many at most.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("calls")(calls)
    app.command("transactions")(transactions)
    app.command("trace")(trace)


def calls(
    text: Annotated[
        str,
        typer.Argument(
            metavar="[TEXT]", help="Only those with this in From, To, an address or the Call-ID."
        ),
    ] = "",
    *,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List calls that are under way, and that ended lately."""
    found = _ask(config, data_dir, lambda proxy: proxy.calls(text, limit))
    if as_json:
        print_json({"calls": CALLS.dump_python(found, mode="json")})
    else:
        _show_calls(console(), found, time.time())


def transactions(
    text: Annotated[
        str,
        typer.Argument(
            metavar="[TEXT]",
            help="Only those with this in method, state, Call-ID, branch or address.",
        ),
    ] = "",
    *,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the transactions that are under way, the latest first."""
    found = _ask(config, data_dir, lambda proxy: proxy.transactions(text, limit))
    if as_json:
        print_json(TRANSACTIONS.dump_python(found, mode="json"))
    else:
        _show_transactions(console(), found, time.time())


def trace(
    call_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[CALL-ID]", help="Draw its ladder. Without one the recorded ones are listed."
        ),
    ] = None,
    *,
    find: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="List only those with this in From, To, an address or the Call-ID.",
        ),
    ] = "",
    messages: Annotated[
        bool, typer.Option("--messages", help="Print each message below its arrow, in full.")
    ] = False,
    capture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the messages as a capture (pcap) instead."),
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Draw who sent what to whom and when, of any recent Call-ID; passwords and keys are masked."""
    if call_id is None:
        if capture is not None or messages:
            raise ConfigError("name the Call-ID; without one they are listed")
        recent = tuple(_ask(config, data_dir, lambda proxy: proxy.recent(find, limit)))
        if as_json:
            print_json({"recent": RECENT.dump_python(recent, mode="json")})
        else:
            _show_recent(console(), recent, time.time())
    elif capture is not None:
        _write_capture(call_id, capture, config, data_dir)
    else:
        _draw(call_id, config, data_dir, as_json=as_json, messages=messages)


def _draw(
    call_id: str, config: Path | None, data_dir: Path | None, *, as_json: bool, messages: bool
) -> None:
    ladder = _ask(config, data_dir, lambda proxy: proxy.ladder(call_id))
    if ladder is None:
        _report_gone(call_id)
    elif as_json:
        print_json({"ladder": LADDER.dump_python(ladder, mode="json")})
    else:
        width = max(NARROWEST, shutil.get_terminal_size((100, 24)).columns)
        typer.echo(as_text(ladder, width), nl=False)
        for each in ladder.arrows if messages else ():
            typer.echo(f"\n+{each.time - ladder.arrows[0].time:.3f}\n{each.text}", nl=False)


def _write_capture(call_id: str, file: Path, config: Path | None, data_dir: Path | None) -> None:
    data = _ask(config, data_dir, lambda proxy: proxy.capture(call_id))
    if data is None:
        _report_gone(call_id)
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"--capture {file}: {error.strerror or error}") from error
    typer.echo(f"{file}: written")


def _report_gone(call_id: str) -> None:
    report_error(f"no message of {call_id} is there; `sip-proxy trace` lists what is")
    raise typer.Exit(ExitStatus.FAULT)


def _ask(
    config: Path | None, data_dir: Path | None, question: Callable[[Watching], Awaitable[T]]
) -> T:
    return ask_running(SocketWatching, place_of(PROGRAM, config, data_dir), question)


def _show_calls(terminal: Console, found: CallList, now: float) -> None:
    if not found.running and not found.ended:
        terminal.print("no calls")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("state\n", overflow="fold", max_width=WIDEST_STATE)
    for name in ("from\nto", "began\ntalked", "Call-ID\nanswered by"):
        table.add_column(name, overflow="fold")
    for each in found.running:
        state = "talking" if each.answered else "ringing" if each.ringing else "calling"
        talked = duration(now - each.answered) if each.answered else ""
        table.add_row(
            Text(state, "green" if each.answered else "yellow"),
            Text(f"{each.sender}\n{each.receiver}"),
            f"{duration(now - each.started)} ago\n{talked}",
            Text(each.call_id),
        )
    for record in found.ended:
        talked = duration(record.duration) if record.answered else ""
        state = "ended" if record.answered else f"{record.status} {record.reason}"
        table.add_row(
            Text.assemble(state, "\n", (f"by the {record.released_by}", "dim")),
            Text(f"{record.sender}\n{record.receiver}"),
            f"{duration(now - record.started)} ago\n{talked}",
            Text(f"{record.call_id}\n{record.answered_by}"),
        )
    terminal.print(table)


def _show_transactions(terminal: Console, found: TransactionList, now: float) -> None:
    if not found.transactions:
        terminal.print("no transactions")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("request\nstate", "from or to", "began", "Call-ID\nbranch"):
        table.add_column(name, overflow="fold")
    for each in found.transactions:
        way = "to" if each.is_client else "from"
        place = f"{way} {each.transport.upper()}\n{each.remote}" if each.remote else "cut off"
        table.add_row(
            Text.assemble(each.method, "\n", (each.state, "dim")),
            Text(place),
            f"{duration(now - each.began)} ago",
            Text.assemble(each.call_id, "\n" if each.call_id else "", (each.branch, "dim")),
        )
    terminal.print(table)
    shown = len(found.transactions)
    if shown < found.total:
        terminal.print(f"{count(shown)} of {count(found.total)}", style="dim")


def _show_recent(terminal: Console, recent: tuple[RecentCall, ...], now: float) -> None:
    if not recent:
        terminal.print("nothing is recorded")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("request", "from\nto", "last", "messages", "Call-ID"):
        table.add_column(name, overflow="fold")
    for each in recent:
        table.add_row(
            Text(f"{each.method}\n{each.status or ''}"),
            Text(f"{each.sender}\n{each.receiver}"),
            f"{duration(now - each.last)} ago",
            count(each.messages),
            Text(each.call_id),
        )
    terminal.print(table)
