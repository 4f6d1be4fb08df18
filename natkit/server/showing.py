"""What every server's status shows to people alike, in 80 columns."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from natkit.server.amounts import count, duration
from natkit.server.reports import (
    CertificateStatus,
    Descriptors,
    Drain,
    ListenerStatus,
    Phase,
    StoreStatus,
)

__all__ = [
    "BAD",
    "GOOD",
    "NOTED",
    "Fact",
    "print_table",
    "show_facts",
    "show_heading",
    "told_certificates",
    "told_drain",
    "told_files",
    "told_listeners",
    "told_store",
]

GOOD, NOTED, BAD = "green", "yellow", "bold red"
"""How what is said is marked where there are colours."""

SOON = 14 * 86_400
"""Seconds before its end when a certificate is shown as one to renew."""

Fact = tuple[str, Text]
"""What it is, and how it is now."""


class Served(Protocol):
    """The beginning of a status; ``started`` is in Unix seconds."""

    @property
    def version(self) -> str:
        """Of the program."""
        ...

    @property
    def phase(self) -> Phase:
        """Whether new clients are served."""
        ...

    @property
    def started(self) -> float:
        """When it began."""
        ...


def show_heading(console: Console, program: str, status: Served, now: float) -> None:
    """Print which program that is, whether it serves, and since when; ``now`` in Unix seconds."""
    console.print(
        Text.assemble(
            (f"{program} {status.version}", "bold"),
            "  ",
            (str(status.phase), GOOD if status.phase is Phase.SERVING else NOTED),
            f"  up {duration(now - status.started)}",
        )
    )


def show_facts(console: Console, facts: Iterable[Fact]) -> None:
    """Print a line for each; long ones are folded."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, value)
    print_table(console, table)


def print_table(console: Console, table: Table) -> None:
    """Print it as wide as the terminal; elsewhere lines without blanks at their ends."""
    if console.is_terminal:
        console.print(table, soft_wrap=False)
        return
    with console.capture() as captured:
        console.print(table, soft_wrap=False)
    for line in captured.get().splitlines():
        console.print(Text(line.rstrip()))


def told_drain(drain: Drain | None, served: str, now: float) -> Iterator[Fact]:
    """How far it is, where there is one; ``served`` is what one of those left is called."""
    if drain is not None:
        left = duration(drain.until - now)
        yield "drain", Text(f"{count(drain.sessions, served)} left, {left} at most", NOTED)


def told_store(store: StoreStatus) -> Text:
    """Which one it is, and why it is down."""
    if store.failure is None:
        return Text(store.name)
    return Text(f"{store.name}: down, {store.failure}", BAD)


def told_certificates(certificates: Iterable[CertificateStatus], now: float) -> Iterator[Fact]:
    """Whom each is for, and until when."""
    for each in certificates:
        until = datetime.fromtimestamp(each.expires, UTC)
        rest = each.expires - now
        text = f"{', '.join(each.names)}, until {until:%Y-%m-%d}"
        style = BAD if rest <= 0 else NOTED if rest < SOON else ""
        yield "certificate", Text(text + (" (expired)" if rest <= 0 else ""), style)


def told_listeners(listeners: Iterable[ListenerStatus]) -> Fact:
    """Where clients come in."""
    return "listeners", Text("\n".join(f"{each.transport} {each.address}" for each in listeners))


def told_files(files: Descriptors) -> Fact:
    """How many are open; it is time to look when half of what may be is."""
    text = f"{count(files.used)} of {count(files.limit)}"
    return "open files", Text(text, NOTED if files.used > files.limit / 2 else "")
