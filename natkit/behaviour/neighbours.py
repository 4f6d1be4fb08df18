"""What becomes of ports that stand side by side, and of one port of two hosts (RFC 4787 §4.2)."""

from typing import Final

from natkit.address import Address
from natkit.behaviour.findings import Fact
from natkit.behaviour.mapping import is_alternate
from natkit.behaviour.steps import Answer, Ask, Close, Open, Outcome, Script

__all__ = ["contiguity", "overloading"]

PAIRS: Final = 3
"""Pairs of ports to look at: one could be neighbours by chance."""

MOST_TRIES: Final = 12
"""Ports whose neighbour may be somebody else's before it is given up."""


def contiguity(local_host: str, server: Address) -> Script[Fact]:
    """Whether two neighbouring ports have neighbours outside (RFC 4787 §4.2.3), as RTP once wanted.

    A third port is mapped between the two, as others' are in life, so that a NAT that only counts
    on does not look like one that keeps neighbours together.
    """
    kept = agreed = looked_at = 0
    shown: list[str] = []
    for _ in range(MOST_TRIES):
        if looked_at == PAIRS:
            break
        first = yield Open(Address(local_host, 0))
        if not isinstance(first, Address):
            break
        if first.port == 0xFFFF:
            continue
        second = yield Open(Address(local_host, first.port + 1))
        if not isinstance(second, Address):
            yield Close(first)
            continue
        seen_first = _mapped((yield Ask(first, server)))
        between = yield Open(Address(local_host, 0))
        if isinstance(between, Address):
            yield Ask(between, server)
        seen_second = _mapped((yield Ask(second, server)))
        if seen_first is None or seen_second is None:
            return Fact.unknown(f"{server} does not answer")
        looked_at += 1
        shown.append(f"{first.port}, {second.port} → {seen_first.port}, {seen_second.port}")
        kept += (seen_first.port, seen_second.port) == (first.port, second.port)
        agreed += seen_second == Address(seen_first.host, seen_first.port + 1)
    if not looked_at:
        return Fact.unknown("no two ports side by side were free")
    if kept == looked_at:
        return Fact(holds=True, confidence=1.0, evidence=("ports are kept, neighbours as well",))
    holds = agreed > looked_at / 2
    share = (agreed if holds else looked_at - agreed) / looked_at
    return Fact(holds=holds, confidence=share, evidence=("; ".join(shown),))


def overloading(local_host: str, second_host: str, server: Address) -> Script[Fact]:
    """Whether one port of two hosts shares one port outside (RFC 4787 §4.2.1, REQ-3 forbids it).

    ``second_host`` is another address of this host behind the same NAT.  The two ask two addresses
    of the server: towards one and the same no NAT could tell them apart afterwards.
    """
    first = yield Open(Address(local_host, 0))
    if not isinstance(first, Address):
        return Fact.unknown("no socket could be opened")
    second = yield Open(Address(second_host, first.port))
    if not isinstance(second, Address):
        return Fact.unknown(f"port {first.port} of {second_host} is taken")
    answer = yield Ask(first, server)
    seen_first = _mapped(answer)
    other = answer.other if isinstance(answer, Answer) else None
    if seen_first is None:
        return Fact.unknown(f"{server} does not answer")
    if seen_first == first:
        return Fact.unknown("there is no NAT")
    if other is None or not is_alternate(server, other):
        return Fact.unknown(f"{server} has no other address to ask (RFC 5780)")
    seen_second = _mapped((yield Ask(second, other)))
    if seen_second is None:
        return Fact.unknown(f"{other} does not answer {second}")
    line = f"{first} is {seen_first} for {server}, {second} is {seen_second} for {other}"
    if seen_second == seen_first:
        return Fact(holds=True, confidence=1.0, evidence=(line,))
    if seen_first.host != seen_second.host or seen_first.port != first.port:
        return Fact.unknown(line, "the two never wanted the same port outside")
    return Fact(holds=False, confidence=1.0, evidence=(line,))


def _mapped(outcome: Outcome) -> Address | None:
    return outcome.mapped if isinstance(outcome, Answer) else None
