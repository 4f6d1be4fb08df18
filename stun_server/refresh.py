"""Refresh: a longer or a shorter life for an allocation (RFC 8656 §8)."""

from natkit.address import Family
from natkit.stun.attributes import Lifetime, RequestedAddressFamily
from natkit.stun.message import Message
from natkit.stun.registry import StunError
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
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
    """Extend the allocation, or delete it when the client asks for a lifetime of zero.

    With REQUESTED-ADDRESS-FAMILY that goes for one address of a dual allocation (RFC 8656 §8.1).
    """
    # RFC 8656 §8.2
    requested = request.get(RequestedAddressFamily)
    family: Family | None = None
    if requested is not None:
        relayed = allocation.relayed_of(requested.family)
        if relayed is None:
            return Refusal(
                StunError.PEER_ADDRESS_FAMILY_MISMATCH, "the allocation is of the other family"
            )
        family = relayed.family
    lifetime = desired_lifetime(request, settings)
    if lifetime == 0:
        reason = CloseReason.DELETED
        if family is None:
            return Success((Lifetime(0),), allocations.close(allocation, reason, now))
        return Success((Lifetime(0),), allocations.close_family(allocation, family, reason, now))
    until = now + lifetime
    allocations.refresh(allocation, until, family)
    event = AllocationRefreshed(allocation.allocation_id, until, family)
    return Success((Lifetime(lifetime),), (event,))


def desired_lifetime(request: Message, settings: Settings) -> int:
    """What a request's LIFETIME comes to, within the server's bounds (RFC 8656 §8.2)."""
    proposed = request.get(Lifetime)
    if proposed is None:
        return settings.default_lifetime
    if proposed.seconds == 0:
        return 0
    return max(settings.default_lifetime, min(proposed.seconds, settings.maximum_lifetime))
