"""A proxy's status and its registrations for people, in 80 columns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from natkit.server.amounts import count, duration
from natkit.server.reports import Phase, StoreStatus
from sip_proxy.administration import GatewayStatus, Registration, Status

__all__ = ["show_registrations", "show_status"]

SOON = 14 * 86_400
"""Seconds before its end when a certificate is shown as one to renew."""

_GOOD, _NOTED, _BAD = "green", "yellow", "bold red"


def show_status(console: Console, status: Status, now: float) -> None:
    """Print what an operator looks for first; ``now`` is in Unix seconds."""
    serving = status.phase is Phase.SERVING
    console.print(
        Text.assemble(
            (f"sip-proxy {status.version}", "bold"),
            "  ",
            (str(status.phase), _GOOD if serving else _NOTED),
            f"  up {duration(now - status.started)}",
        )
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(status, now):
        facts.add_row(name, value)
    console.print(facts)


def show_registrations(
    console: Console, registrations: Sequence[Registration], now: float, limit: int
) -> None:
    """Print who is registered, each with a line a contact."""
    if not registrations:
        console.print("nobody is registered")
        return
    for each in registrations:
        console.print(Text(each.address_of_record, "bold"))
        for contact in each.contacts:
            way = "" if contact.flow is None else f"  by {contact.flow}"
            q = "" if contact.q == 1 else f"  q={contact.q:g}"
            left = duration(contact.expires - now)
            console.print(Text.assemble(f"  {contact.uri}", (f"{way}{q}  {left} left", "dim")))
    if len(registrations) == limit:
        console.print(Text(f"{count(limit)} of them; --limit shows more", style="dim"))


def _facts(status: Status, now: float) -> Iterator[tuple[str, Text]]:
    if status.drain is not None:
        left = duration(status.drain.until - now)
        waits = count(status.drain.sessions, "transaction")
        yield "drain", Text(f"{waits} left, {left} at most", _NOTED)
    yield "domains", Text(", ".join(status.domains))
    yield "calls", Text(count(status.calls))
    yield "registered", Text(count(status.registered))
    yield "transactions", Text(f"{count(status.transactions)}, {count(status.waiting)} waiting")
    yield "requests", Text(_requests(status))
    connections = sum(each.accepted + each.made for each in status.connections)
    yield "connections", Text(count(connections))
    for gateway in status.gateways:
        yield "gateway", _gateway(gateway)
    yield "users", _store(status.users)
    yield "registrations", _store(status.location)
    for certificate in status.certificates:
        until = datetime.fromtimestamp(certificate.expires, UTC)
        style = _BAD if certificate.expires - now < SOON else ""
        yield "certificate", Text(f"{', '.join(certificate.names)}, until {until:%Y-%m-%d}", style)
    for listener in status.listeners:
        yield "listens", Text(f"{listener.transport}:{listener.address}")
    used, most = status.descriptors.used, status.descriptors.limit
    yield "open files", Text(f"{count(used)} of {count(most)}", _NOTED if used > most / 2 else "")


def _requests(status: Status) -> str:
    answered: Counter[str] = Counter()
    for each in status.answers:
        answered[f"{each.status // 100}xx"] += each.count
    by_class = ", ".join(f"{count(number)} {name}" for name, number in sorted(answered.items()))
    return by_class or "none yet"


def _gateway(gateway: GatewayStatus) -> Text:
    state = ("up", _GOOD) if gateway.is_up else ("down", _BAD)
    return Text.assemble(f"{gateway.name} ", state, f", {count(gateway.calls, 'call')}")


def _store(store: StoreStatus) -> Text:
    if store.failure is None:
        return Text(store.name)
    return Text(f"{store.name}: down, {store.failure}", _BAD)
