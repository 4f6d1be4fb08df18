"""How long a NAT keeps a silent binding (RFC 5780 §4.6)."""

from natkit.address import Address
from natkit.behaviour.findings import LifetimeFinding
from natkit.behaviour.steps import Answer, Ask, Close, Open, Outcome, Pause, Script
from natkit.keepalive.interval import AdaptiveInterval

__all__ = ["binding_lifetime"]


def binding_lifetime(
    local_host: str, server: Address, *, shortest: float, longest: float, limit: float
) -> Script[LifetimeFinding]:
    """Search the longest silence that a binding survives, between ``shortest`` and ``longest``.

    Each trial has a fresh binding, which then stays silent; a second socket has the server answer
    to it (RESPONSE-PORT).  All in seconds; ``limit`` is for the whole search, which ends with what
    is known by then.
    """
    evidence: list[str] = []
    fault = yield from _trial(local_host, server, 0.0)
    if fault is not True:
        return LifetimeFinding(False, 0.0, None, (fault or _NOT_HONOURED.format(server),))
    search = AdaptiveInterval(shortest, longest)
    spent = 0.0
    while not search.is_settled:
        silence = search.trial()
        if spent + silence > limit:
            evidence.append(f"the time limit of {limit:g} s ends the search")
            break
        spent += silence
        outcome = yield from _trial(local_host, server, silence)
        if isinstance(outcome, str):
            evidence.append(outcome)
            break
        (search.survived if outcome else search.lost)(silence)
        words = "lets packets in" if outcome else "lets nothing in"
        evidence.append(f"after {silence:.3g} s of silence it {words}")
    survived, fatal = search.lifetime
    return LifetimeFinding(True, survived, fatal, tuple(evidence))


_NOT_HONOURED = "{} does not answer to another port (RESPONSE-PORT, RFC 5780 §7.5)"


def _trial(local_host: str, server: Address, silence: float) -> Script[bool | str]:
    """Whether a binding lets packets in after ``silence`` seconds; a line when nobody can tell."""
    kept = yield Open(Address(local_host, 0))
    asking = yield Open(Address(local_host, 0))
    if not (isinstance(kept, Address) and isinstance(asking, Address)):
        return "no two sockets could be opened"
    kept_as = _mapped((yield Ask(kept, server)))
    # From the second socket too: both must be behind one outside address.
    asking_as = _mapped((yield Ask(asking, server))) if kept_as is not None else None
    if kept_as is None or asking_as is None:
        return f"{server} does not answer"
    if kept_as.host != asking_as.host:
        return f"two sockets have two outside addresses, {kept_as.host} and {asking_as.host}"
    if silence:
        yield Pause(silence)
    heard = yield Ask(asking, server, response_port=kept_as.port)
    yield Close(kept)
    yield Close(asking)
    if isinstance(heard, Answer) and heard.refused is None and heard.local != kept:
        # It went back to whoever asked, which says nothing about the binding that was silent.
        return _NOT_HONOURED.format(server)
    return isinstance(heard, Answer) and heard.refused is None


def _mapped(outcome: Outcome | None) -> Address | None:
    return outcome.mapped if isinstance(outcome, Answer) else None
