"""A proxy's status and its registrations for people, in 80 columns."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from natkit.server.amounts import count, duration
from natkit.server.showing import (
    BAD,
    GOOD,
    Fact,
    show_facts,
    show_heading,
    told_certificates,
    told_drain,
    told_files,
    told_listeners,
    told_store,
)
from sip_proxy.administration import GatewayStatus, Registration, Status

__all__ = ["show_registrations", "show_status"]


def show_status(console: Console, status: Status, now: float) -> None:
    """Print what an operator looks for first; ``now`` is in Unix seconds."""
    show_heading(console, "sip-proxy", status, now)
    show_facts(console, _facts(status, now))


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


def _facts(status: Status, now: float) -> Iterator[Fact]:
    yield from told_drain(status.drain, "transaction", now)
    yield "domains", Text(", ".join(status.domains))
    yield "calls", Text(count(status.calls))
    yield "registered", Text(count(status.registered))
    yield "transactions", Text(f"{count(status.transactions)}, {count(status.waiting)} waiting")
    yield "requests", Text(_requests(status))
    connections = sum(each.accepted + each.made for each in status.connections)
    yield "connections", Text(count(connections))
    for gateway in status.gateways:
        yield "gateway", _gateway(gateway)
    yield "users", told_store(status.users)
    yield "registrations", told_store(status.location)
    yield from told_certificates(status.certificates, now)
    yield told_listeners(status.listeners)
    yield told_files(status.descriptors)


def _requests(status: Status) -> str:
    answered: Counter[str] = Counter()
    for each in status.answers:
        answered[f"{each.status // 100}xx"] += each.count
    by_class = ", ".join(f"{count(number)} {name}" for name, number in sorted(answered.items()))
    return by_class or "none yet"


def _gateway(gateway: GatewayStatus) -> Text:
    state = ("up", GOOD) if gateway.is_up else ("down", BAD)
    return Text.assemble(f"{gateway.name} ", state, f", {count(gateway.calls, 'call')}")
