"""Refresh: a longer or a shorter life for an allocation (RFC 8656 §8)."""

from natkit.stun.attributes import Lifetime, RequestedAddressFamily
from natkit.stun.message import Message
from natkit.stun.registry import StunError
from stun_server.allocations import Allocation, Allocations
from stun_server.events import AllocationRefreshed, CloseReason
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.settings import Settings


def refresh(
    request: Message,
    allocation: Allocation,
    allocations: Allocations,
    settings: Settings,
    now: float,
) -> Outcome:
    """Extend the allocation, or delete it when the client asks for a lifetime of zero."""
    # RFC 8656 §8.2
    family = request.get(RequestedAddressFamily)
    if family is not None and family.family != allocation.relayed.family:
        return Refusal(
            StunError.PEER_ADDRESS_FAMILY_MISMATCH, "the allocation is of the other family"
        )
    lifetime = desired_lifetime(request, settings)
    if lifetime == 0:
        return Success((Lifetime(0),), allocations.close(allocation, CloseReason.DELETED, now))
    until = now + lifetime
    allocations.refresh(allocation, until)
    return Success((Lifetime(lifetime),), (AllocationRefreshed(allocation.allocation_id, until),))


def desired_lifetime(request: Message, settings: Settings) -> int:
    """What a request's LIFETIME comes to, within the server's bounds (RFC 8656 §8.2)."""
    proposed = request.get(Lifetime)
    if proposed is None:
        return settings.default_lifetime
    if proposed.seconds == 0:
        return 0
    return max(settings.default_lifetime, min(proposed.seconds, settings.maximum_lifetime))
