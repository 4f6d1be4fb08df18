"""What a changed policy takes away from allocations that live."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from natkit.address import Address
from natkit.machine import Transport
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.connection_events import ConnectionEvent
from stun_server.events import ChannelBound, ChannelRevoked, PermissionInstalled, PermissionRevoked
from stun_server.policy import EVERYTHING, NOTHING, PeerPolicy

Revocation = PermissionRevoked | ChannelRevoked | PermissionInstalled | ChannelBound


def revoke(
    allocation: Allocation,
    allocations: Allocations,
    policy: PeerPolicy,
    relaying: AbstractSet[str],
    now: float,
) -> Iterator[Revocation]:
    """Drop the permissions and channels to peers that ``policy`` refuses.

    ``relaying`` are the hosts of this server's live relayed addresses.

    Where such a peer is a live relayed address of this server, what leads to it stays, and leads
    to nothing else on that host (RFC 8656 §9 as in PermissionInstalled's ``only_relayed``).
    """
    for host, permission in tuple(allocation.permissions.items()):
        reach = policy.reach(host)
        if reach in (EVERYTHING, (permission.only_relayed, permission.ports)):
            continue
        if (reach != NOTHING or host in relaying) and permission.until > now:
            permission.only_relayed, permission.ports = reach
            yield PermissionInstalled(
                allocation.allocation_id, host, permission.until, reach.only_relayed, reach.ports
            )
            continue
        allocations.forbid(allocation, host)
        rule = policy.refusal(Address(host, 0))
        if rule is not None:
            yield PermissionRevoked(allocation.allocation_id, host, rule)
    for channel in tuple(allocation.channels.values()):
        if channel.only_relayed or policy.refusal(channel.peer) is None:
            continue
        if allocations.is_relayed(channel.peer) and channel.until > now:
            channel.only_relayed = True
            yield ChannelBound(
                allocation.allocation_id,
                channel.number,
                channel.peer,
                channel.until,
                only_relayed=True,
            )
            continue
        allocations.unbind(allocation, channel)
        yield ChannelRevoked(allocation.allocation_id, channel.number, channel.peer)


def revoke_connections(
    allocation: Allocation, allocations: Allocations, policy: PeerPolicy
) -> Iterator[ConnectionEvent]:
    """End the TCP connections with peers that ``policy`` refuses (RFC 6062)."""
    for connection in allocations.connections.of_allocation(allocation.allocation_id):
        peer = connection.path.remote
        if policy.refusal(peer) and not allocations.is_relayed(peer, Transport.TCP):
            yield from allocations.connections.end(connection)
