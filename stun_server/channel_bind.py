"""ChannelBind: a number that stands for a peer (RFC 8656 §12)."""

from natkit.machine import Transport
from natkit.stun.attributes import ChannelNumber, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import (
    CHANNEL_FIRST,
    CHANNEL_LAST,
    CHANNEL_LAST_RFC5766,
    StunError,
)
from stun_server.allocation import CHANNEL_LIFETIME, PERMISSION_LIFETIME, Allocation
from stun_server.allocations import Allocations
from stun_server.events import ChannelBound, PeerRefused, PermissionInstalled
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.policy import PeerPolicy
from stun_server.settings import Settings


def channel_bind(
    request: Message,
    allocation: Allocation,
    allocations: Allocations,
    policy: PeerPolicy,
    settings: Settings,
    now: float,
) -> Outcome:
    """Bind a channel to a peer, or extend it, and with it the permission for the peer's host."""
    if allocation.peers is not Transport.UDP:
        return Refusal(StunError.BAD_REQUEST, "a channel of a TCP allocation")
    # RFC 8656 §12.2, first check.
    number, address = request.get(ChannelNumber), request.get(XorPeerAddress)
    if number is None or address is None:
        return Refusal(StunError.BAD_REQUEST, "no CHANNEL-NUMBER or no XOR-PEER-ADDRESS")
    channel, peer = number.number, address.address
    # Second check; clients of RFC 5766 draw from the larger range.
    last = CHANNEL_LAST if settings.strict_channels else CHANNEL_LAST_RFC5766
    if not CHANNEL_FIRST <= channel <= last:
        return Refusal(StunError.BAD_REQUEST, f"no channel has the number 0x{channel:04x}")
    # Third and fourth check.
    for bound in (allocation.channels.get(channel), allocation.channels_by_peer.get(peer)):
        if (
            bound is not None
            and bound.until > now
            and (bound.number, bound.peer) != (channel, peer)
        ):
            return Refusal(
                StunError.BAD_REQUEST, f"channel 0x{bound.number:04x} is bound to {bound.peer}"
            )
    # The peer's family.
    if allocation.relayed_of(peer.family) is None:
        return Refusal(StunError.PEER_ADDRESS_FAMILY_MISMATCH, "a peer of the other family")
    # The restrictions on peers.
    rule = policy.refusal(peer)
    if rule is not None and not allocations.is_relayed(peer):
        return Refusal(
            StunError.FORBIDDEN,
            f"peer {peer} is in {rule}",
            events=(PeerRefused(allocation.allocation_id, peer, rule),),
        )
    # The capacity limits.
    if not (
        allocations.has_room_for_channel(allocation, channel, settings, now)
        and allocations.has_room_for_permissions(allocation, (peer.host,), settings, now)
    ):
        return Refusal(StunError.INSUFFICIENT_CAPACITY, "too many channels or permissions")
    # Bound or refreshed, and the permission (§9) with it.
    only_relayed = rule is not None
    until = now + CHANNEL_LIFETIME
    permitted = now + PERMISSION_LIFETIME if settings.strict_permissions else until
    limited, ports = policy.reach(peer.host)
    permission = allocations.permit(
        allocation, peer.host, permitted, only_relayed=limited, ports=ports
    )
    allocations.bind(allocation, channel, peer, until, only_relayed=only_relayed)
    return Success(
        events=(
            PermissionInstalled(
                allocation.allocation_id, peer.host, permission.until, limited, ports
            ),
            ChannelBound(allocation.allocation_id, channel, peer, until, only_relayed),
        )
    )
