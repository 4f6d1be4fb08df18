"""ConnectionAttempt: a peer connected to a relayed address (RFC 6062 §5.3)."""

from typing import NamedTuple

from natkit.machine import Path, RandomBytes, Transmit
from natkit.stun.attributes import ConnectionId, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, Method
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.connect import new_connection
from stun_server.connection_events import ClosePeer, PeerConnected, PeerConnectionRefused
from stun_server.events import ServerEvent
from stun_server.peer_connections import ConnectionState
from stun_server.settings import Settings


class Attempt(NamedTuple):
    """What to tell the client, if the attempt is one that it may take up, and what happened."""

    indication: Transmit | None
    events: tuple[ServerEvent, ...]


def connection_attempt(
    path: Path,
    allocations: Allocations,
    limits: Settings,
    random: RandomBytes,
    now: float,
) -> Attempt:
    """Tell the client of a peer that has a permission; others are closed at once.

    ``limits`` are those of the realm of the allocation.
    """
    close = ClosePeer(path)
    allocation = allocations.of_tcp_relayed(path.local)
    if allocation is None:
        # Late for an allocation that ended.
        return Attempt(None, (close,))
    # The system had the same addresses free again: what had them before is over.
    stale = allocations.connections.on(path)
    if stale is not None:
        return Attempt(None, (*allocations.connections.end(stale), close))
    refused = _refused(path, allocation, allocations, limits, now)
    if refused is not None:
        return Attempt(
            None,
            (PeerConnectionRefused(allocation.allocation_id, path.remote, refused), close),
        )
    connection = new_connection(
        allocation, allocations, path, ConnectionState.PENDING, limits, random
    )
    allocations.connections.await_binding(connection, now)
    indication = Message.indication(
        Method.CONNECTION_ATTEMPT,
        random(TRANSACTION_ID_LENGTH),
        XorPeerAddress(allocations.external.peer(path.remote)),
        ConnectionId(connection.connection_id),
    )
    fact = PeerConnected(
        allocation.allocation_id, connection.connection_id, path.remote, attempted=True
    )
    return Attempt(Transmit(indication.encode(), allocation.client), (fact,))


def _refused(
    path: Path, allocation: Allocation, allocations: Allocations, limits: Settings, now: float
) -> str | None:
    if not allocations.may_relay(allocation, path.remote, now):
        return "no permission"
    limit = allocations.connections.refusal(
        allocation.allocation_id, allocation.credential.account, limits
    )
    return limit.reason if limit is not None else None
