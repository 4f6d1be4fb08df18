"""Whether hosts behind one NAT reach each other by their outside addresses (RFC 5780 §4.5)."""

from typing import Final

from natkit.address import Address
from natkit.behaviour.asking import Answer, Ask, Open, Script
from natkit.behaviour.findings import HairpinFinding
from natkit.stun.transaction import Timing

__all__ = ["hairpin_behaviour"]

PATIENCE: Final = Timing(rto=1.0, maximum_rto=1.0, request_count=3, last_wait=2)
"""Three packets and five seconds: some NATs are slow at it, and others take it for an attack."""


def hairpin_behaviour(
    local_host: str, server: Address, timing: Timing = PATIENCE
) -> Script[HairpinFinding]:
    """One socket asks the outside address of another, which must hear the question."""
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
    came_from = yield Ask(sender, to_receiver.mapped, listen=receiver, timing=timing)
    if not isinstance(came_from, Address):
        return HairpinFinding(False, (f"nothing came to {receiver} by {to_receiver.mapped}",))
    line = f"{sender} reached {receiver} by {to_receiver.mapped}, seen as {came_from}"
    return HairpinFinding(True, (line,), came_from.host == to_sender.mapped.host)
