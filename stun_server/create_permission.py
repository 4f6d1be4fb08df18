"""CreatePermission: which hosts may exchange data with the client (RFC 8656 §10)."""

from natkit.stun.attributes import XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import StunError
from stun_server.allocation import PERMISSION_LIFETIME, Allocation
from stun_server.allocations import Allocations
from stun_server.events import PeerRefused, PermissionInstalled
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.policy import NOTHING, PeerPolicy, Reach
from stun_server.settings import Settings


def create_permission(
    request: Message,
    allocation: Allocation,
    allocations: Allocations,
    policy: PeerPolicy,
    settings: Settings,
    now: float,
) -> Outcome:
    """Install or refresh a permission for every XOR-PEER-ADDRESS, or for none of them."""
    # RFC 8656 §10.2: the message is checked for validity.
    peers = [attribute.address for attribute in request.get_all(XorPeerAddress)]
    if not peers:
        return Refusal(StunError.BAD_REQUEST, "no XOR-PEER-ADDRESS")
    # The family of every peer.
    if any(allocation.relayed_of(peer.family) is None for peer in peers):
        return Refusal(StunError.PEER_ADDRESS_FAMILY_MISMATCH, "a peer of the other family")
    # The restrictions on peers.
    hosts: dict[str, Reach] = {}
    for peer in peers:
        reach = hosts[peer.host] = policy.reach(peer.host)
        rule = policy.refusal(peer) if reach == NOTHING else None
        # A permission for relayed addresses is refreshed for its host, as the port does not count:
        # the client may name one that has closed since, while others on the host live.
        if (
            rule is not None
            and not allocations.is_relayed(peer, allocation.peers)
            and not allocations.is_permitted(allocation, peer.host, now)
        ):
            return Refusal(
                StunError.FORBIDDEN,
                f"peer {peer} is in {rule}",
                events=(PeerRefused(allocation.allocation_id, peer, rule),),
            )
    # The capacity limits.
    if not allocations.has_room_for_permissions(allocation, hosts, settings, now):
        return Refusal(StunError.INSUFFICIENT_CAPACITY, "too many permissions")
    # RFC 8656 §9: installed or refreshed.
    until = now + PERMISSION_LIFETIME
    events = []
    for host, (only_relayed, ports) in hosts.items():
        permission = allocations.permit(
            allocation, host, until, only_relayed=only_relayed, ports=ports
        )
        events.append(
            PermissionInstalled(
                allocation.allocation_id, host, permission.until, only_relayed, ports
            )
        )
    return Success(events=tuple(events))
