"""Whether hosts behind one NAT reach each other by their outside addresses (RFC 5780 §3.4)."""

from typing import Final

from natkit.address import Address
from natkit.behaviour.findings import HairpinFinding
from natkit.behaviour.steps import Answer, Ask, Open, Script
from natkit.stun.transaction import Timing

__all__ = ["hairpin_behaviour"]

PATIENCE: Final = Timing(rto=1.0, maximum_rto=1.0, request_count=3, last_wait=2)
"""Three packets and five seconds: some NATs are slow at it, and others take it for an attack."""


def hairpin_behaviour(
    local_host: str, server: Address, timing: Timing = PATIENCE
) -> Script[HairpinFinding]:
    """Two sockets ask each other's outside addresses; one must hear the other's question."""
    receiver = yield Open(Address(local_host, 0))
    sender = yield Open(Address(local_host, 0))
    if not (isinstance(receiver, Address) and isinstance(sender, Address)):
        return HairpinFinding(None, ("no two sockets could be opened",))
    to_receiver = yield Ask(receiver, server)
    to_sender = yield Ask(sender, server)
    if not (isinstance(to_receiver, Answer) and isinstance(to_sender, Answer)):
        return HairpinFinding(None, (f"{server} does not answer",))
    if to_receiver.mapped is None or to_sender.mapped is None:
        return HairpinFinding(None, (f"{server} names no mapped address",))
    if to_receiver.mapped == receiver:
        return HairpinFinding(None, ("there is no NAT that could hairpin",))
    if to_receiver.mapped.family is not receiver.family:
        return HairpinFinding(None, (f"{to_receiver.mapped} is on the other side of a NAT64",))
    there, back = (sender, receiver, to_receiver.mapped), (receiver, sender, to_sender.mapped)
    # A NAT that filters lets in only what comes from where was sent to: the first way opens it.
    for asking, hearing, by in (there, back):
        came_from = yield Ask(asking, by, listen=hearing, timing=timing)
        if isinstance(came_from, Address):
            line = f"{asking} reached {hearing} by {by}, seen as {came_from}"
            return HairpinFinding(True, (line,), came_from.host == by.host)
    return HairpinFinding(False, (f"nothing came by {to_receiver.mapped} or {to_sender.mapped}",))
