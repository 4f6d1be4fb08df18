"""A server's status and its sessions for people, in 80 columns."""

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from natkit.server.amounts import count, duration, size
from natkit.server.showing import (
    Fact,
    print_table,
    show_facts,
    show_heading,
    told_certificates,
    told_drain,
    told_files,
    told_listeners,
    told_store,
)
from natkit.stun.registry import REASON_PHRASES, StunError
from stun_server.administration import Session, Status

__all__ = ["show_sessions", "show_status"]


def show_status(console: Console, status: Status, now: float) -> None:
    """Print what an operator looks for first; ``now`` is in Unix seconds."""
    show_heading(console, "stun-server", status, now)
    show_facts(console, _facts(status, now))
    if len(status.workers) > 1:
        print_table(console, _workers(status, now))


def show_sessions(console: Console, sessions: tuple[Session, ...], now: float, limit: int) -> None:
    """Print a table of sessions, each on two lines: who and where, then how much and how long."""
    if not sessions:
        console.print("no sessions")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("session\nuser", no_wrap=True, max_width=18)
    table.add_column("client\nrelayed", overflow="fold")
    table.add_column("age\nends in", no_wrap=True)
    table.add_column("sent\nreceived", justify="right", no_wrap=True)
    for each in sessions:
        client = Text.assemble(each.client, (f" {each.transport}", "dim"))
        table.add_row(
            Text.assemble((each.id, "bold"), "\n", each.user),
            Text.assemble(client, "\n", "\n".join(each.relayed)),
            f"{duration(now - each.since)}\n{duration(each.expires - now)}",
            f"{size(each.traffic.bytes_to_peers)}\n{size(each.traffic.bytes_to_clients)}",
        )
    print_table(console, table)
    if len(sessions) == limit:
        console.print(Text(f"the oldest {count(limit)}; --limit shows more", style="dim"))


def _facts(status: Status, now: float) -> Iterator[Fact]:
    yield from told_drain(status.drain, "session", now)
    yield "sessions", Text(_and(count(status.sessions), _allocations(status)))
    relayed = status.relayed
    yield "to peers", _amount(relayed.packets_to_peers, relayed.bytes_to_peers)
    yield "to clients", _amount(relayed.packets_to_clients, relayed.bytes_to_clients)
    yield "bindings", Text(count(status.bindings))
    yield "connections", Text(count(status.connections))
    refused = {_refusal(code): number for code, number in sorted(status.refusals.items())}
    if status.peers_refused:
        refused["peers by policy"] = status.peers_refused
    if refused:
        yield "refused", Text(_listed(refused))
    dropped = {name: number for name, number in status.dropped.items() if number}
    if dropped:
        yield "dropped", Text(_listed(dropped))
    yield "realms", Text(", ".join(status.realms))
    yield "store", told_store(status.store)
    yield from told_certificates(status.certificates, now)
    yield "plane", Text(f"{status.plane} ({status.plane_reason}), {status.event_loop}")
    if len(status.workers) == 1:
        yield told_files(status.workers[0].descriptors)
    yield told_listeners(status.listeners)
    other = {name: number for name, number in status.counts.items() if number}
    if other:
        yield "counted", Text(_listed(dict(sorted(other.items()))))


def _amount(packets: int, octets: int) -> Text:
    return Text(f"{count(packets)} packets, {size(octets)}")


def _allocations(status: Status) -> str:
    return ", ".join(
        f"{count(each.count)} {each.transport.upper()} IPv{each.family}"
        for each in status.allocations
    )


def _workers(status: Status, now: float) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("worker", "process", "up", "sessions", "open files", "restarts"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in status.workers:
        table.add_row(
            str(each.number),
            str(each.process_id),
            duration(now - each.started),
            count(each.sessions),
            f"{count(each.descriptors.used)}/{count(each.descriptors.limit)}",
            count(each.restarts),
        )
    return table


def _refusal(code: int) -> str:
    try:
        return f"{code} {REASON_PHRASES[StunError(code)]}"
    except (KeyError, ValueError):
        return str(code)


def _and(first: str, more: str) -> str:
    return f"{first} ({more})" if more else first


def _listed(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{name}: {count(number)}" for name, number in counts.items())
