"""Connect: a TCP connection from the relayed address to a peer (RFC 6062 §5.2)."""

from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Failure, Path, RandomBytes, Transport
from natkit.stun.attributes import ConnectionId, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import StunError
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.authentication import Proof
from stun_server.connection_events import ClosePeer, PeerConnected
from stun_server.events import PeerRefused
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.peer_connections import WORKER_SHIFT, ConnectionState, PeerConnection
from stun_server.policy import PeerPolicy
from stun_server.settings import Settings

CONNECT_TIMEOUT = 30.0
"""Seconds that a peer has to answer: no less (RFC 6062 §5.2)."""


@dataclass(frozen=True, slots=True)
class Connecting:
    """A Connect that waits for its connection."""

    request: Message
    path: Path
    proof: Proof
    connection: PeerConnection


def connect(
    request: Message,
    proof: Proof,
    allocation: Allocation,
    allocations: Allocations,
    policy: PeerPolicy,
    settings: Settings,
    random: RandomBytes,
) -> Connecting | Outcome:
    """Take the checks of RFC 6062 §5.2; no permission is needed, the client asks for the peer."""
    if allocation.peers is not Transport.TCP:
        return Refusal(StunError.BAD_REQUEST, "the allocation is for UDP")
    attribute = request.get(XorPeerAddress)
    if attribute is None:
        return Refusal(StunError.BAD_REQUEST, "no XOR-PEER-ADDRESS")
    peer = attribute.address
    relayed = allocation.relayed_of(peer.family)
    if relayed is None:
        return Refusal(StunError.PEER_ADDRESS_FAMILY_MISMATCH, "a peer of the other family")
    path = Path(Transport.TCP, relayed, peer)
    if allocations.connections.on(path) is not None:
        return Refusal(StunError.CONNECTION_ALREADY_EXISTS, f"there is a connection to {peer}")
    refusal = _forbidden(peer, allocation, allocations, policy)
    if refusal is None:
        refusal = allocations.connections.refusal(
            allocation.allocation_id, allocation.credential.account, proof.realm
        )
    if refusal is not None:
        return refusal
    connection = new_connection(
        allocation, allocations, path, ConnectionState.CONNECTING, settings, random
    )
    return Connecting(request, allocation.client, proof, connection)


def connected(
    connecting: Connecting, result: Path | Failure, allocations: Allocations, now: float
) -> Outcome:
    """What comes of an attempt."""
    connection = connecting.connection
    if connection.state is ConnectionState.ENDED:
        close = (ClosePeer(connection.path),) if isinstance(result, Path) else ()
        return Refusal(StunError.ALLOCATION_MISMATCH, "the allocation has ended", events=close)
    if isinstance(result, Failure):
        return Refusal(
            StunError.CONNECTION_TIMEOUT_OR_FAILURE,
            result.reason,
            events=allocations.connections.end(connection),
        )
    allocations.connections.await_binding(connection, now)
    return Success((ConnectionId(connection.connection_id),), events=(_fact(connection),))


def new_connection(
    allocation: Allocation,
    allocations: Allocations,
    path: Path,
    state: ConnectionState,
    settings: Settings,
    random: RandomBytes,
) -> PeerConnection:
    """One more for the allocation, under an id that nobody can guess but for its worker."""
    connections = allocations.connections
    while True:
        drawn = int.from_bytes(random(WORKER_SHIFT // 8), "big")
        connection_id = settings.worker << WORKER_SHIFT | drawn
        if connection_id not in connections:
            break
    connection = PeerConnection(
        connection_id,
        allocation.allocation_id,
        allocation.client,
        allocation.credential.account,
        path,
        state,
    )
    connections.add(connection)
    return connection


def _forbidden(
    peer: Address, allocation: Allocation, allocations: Allocations, policy: PeerPolicy
) -> Refusal | None:
    if peer in allocation.relayed_addresses:
        return Refusal(StunError.FORBIDDEN, f"peer {peer} is the client's own relayed address")
    rule = policy.refusal(peer)
    # Another client's relayed address takes connections only if that client permits it.
    if rule is None or allocations.is_relayed(peer, Transport.TCP):
        return None
    return Refusal(
        StunError.FORBIDDEN,
        f"peer {peer} is in {rule}",
        events=(PeerRefused(allocation.allocation_id, peer, rule),),
    )


def _fact(connection: PeerConnection) -> PeerConnected:
    if connection.allocation_id is None:
        raise AssertionError("a connection that was taken is connected")
    return PeerConnected(
        connection.allocation_id,
        connection.connection_id,
        connection.path.remote,
        attempted=False,
    )
