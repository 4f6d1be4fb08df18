"""Whom a NAT or firewall lets in: RFC 5780 §4.4, with silence proved to mean something."""

from natkit.address import Address
from natkit.behaviour.findings import Filtering, FilteringFinding
from natkit.behaviour.mapping import is_alternate
from natkit.behaviour.steps import Answer, Ask, NoSocket, Open, Outcome, Script

__all__ = ["filtering_behaviour"]


def filtering_behaviour(local_host: str, server: Address) -> Script[FilteringFinding]:
    """Answers from elsewhere are asked for, from one fresh socket, and then once more.

    Silence shows filtering only if the server would have answered: so afterwards the socket opens
    the way itself, by a packet to where the answer is to come from, and the answer must come then.
    """
    local = yield Open(Address(local_host, 0))
    if not isinstance(local, Address):
        return _unknown([local.reason if isinstance(local, NoSocket) else "no socket"])
    first = yield Ask(local, server)
    if not isinstance(first, Answer) or first.mapped is None:
        return _unknown([f"{server} does not answer"])
    other = first.other
    if other is None or not is_alternate(server, other):
        return _unknown([f"{server} does not say that it can answer from another address"])
    evidence: list[str] = []
    both = yield Ask(local, server, change_ip=True, change_port=True)
    if _is_from(both, other):
        evidence.append(f"an answer from {other} came, where nothing was sent")
        return FilteringFinding(Filtering.ENDPOINT_INDEPENDENT, 1.0, tuple(evidence))
    if isinstance(both, Answer):
        return _unknown([_wrong(server, other, both)])
    neighbour = Address(server.host, other.port)
    port = yield Ask(local, server, change_port=True)
    if _is_from(port, neighbour):
        evidence.append(f"an answer from {neighbour} came, from {other} none did")
        kind = Filtering.ADDRESS_DEPENDENT
    elif isinstance(port, Answer):
        return _unknown([_wrong(server, neighbour, port)])
    else:
        evidence.append(f"from {neighbour} and from {other} no answer came")
        kind = Filtering.ADDRESS_AND_PORT_DEPENDENT
    # The proof: with the way opened, the answer that did not come must come.
    opened = yield Ask(local, other)
    if not isinstance(opened, Answer):
        return _unknown([*evidence, f"{other} itself does not answer: the silence shows nothing"])
    # Where the NAT maps another port towards there, the answer is to come to that one.
    moved = opened.mapped is not None and opened.mapped != first.mapped
    to_port = opened.mapped.port if moved and opened.mapped is not None else None
    again = yield Ask(local, server, change_ip=True, change_port=True, response_port=to_port)
    if not _is_from(again, other):
        return _unknown([*evidence, f"{server} does not answer from {other} when it could"])
    evidence.append(f"after a packet to {other} its answer came")
    return FilteringFinding(kind, 1.0, tuple(evidence))


def _is_from(outcome: Outcome, expected: Address) -> bool:
    """Whether an answer came from where it was asked to, and says so itself (RFC 5780 §7.3)."""
    return (
        isinstance(outcome, Answer)
        and outcome.refused is None
        and outcome.source == expected
        and outcome.origin in (None, expected)
    )


def _wrong(server: Address, expected: Address, answer: Answer) -> str:
    if answer.refused is not None:
        return f"{server} refuses to answer from {expected} ({answer.refused})"
    return f"{server} answered from {answer.source} where {expected} was asked for"


def _unknown(evidence: list[str]) -> FilteringFinding:
    return FilteringFinding(Filtering.UNKNOWN, 0.0, tuple(evidence))
