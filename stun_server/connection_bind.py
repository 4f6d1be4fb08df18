"""ConnectionBind: a client's new connection becomes a client data connection (RFC 6062 §5.4).

The peer data connection may be another worker's, for the system chooses which worker accepts the
client's connection.  It is then asked for, and crosses unread.
"""

from dataclasses import dataclass

from natkit.machine import Failure, Path, Transport
from natkit.stun.attributes import ConnectionId
from natkit.stun.message import Message
from natkit.stun.registry import StunError
from stun_server.authentication import Account, Proof
from stun_server.connection_events import (
    ClosePeer,
    ConnectionReturned,
    SpliceConnections,
    Taken,
)
from stun_server.outcome import Outcome, Refusal, Success
from stun_server.peer_connections import (
    ConnectionState,
    PeerConnection,
    PeerConnections,
    owner_of,
)
from stun_server.settings import Settings

_UNKNOWN = "no pending connection of this user has the CONNECTION-ID"


@dataclass(frozen=True, slots=True)
class Binding:
    """A ConnectionBind that waits for another worker."""

    request: Message
    path: Path
    proof: Proof
    connection_id: int


def connection_bind(
    request: Message,
    path: Path,
    proof: Proof,
    connections: PeerConnections,
    settings: Settings,
) -> Binding | Outcome:
    """Bind the connection on ``path``, which is no allocation's, to the one that it names."""
    if path.transport not in (Transport.TCP, Transport.TLS):
        return Refusal(StunError.BAD_REQUEST, f"a ConnectionBind over {path.transport.upper()}")
    attribute = request.get(ConnectionId)
    if attribute is None:
        return Refusal(StunError.BAD_REQUEST, "no CONNECTION-ID")
    connection_id = attribute.value
    if owner_of(connection_id) != settings.worker:
        return Binding(request, path, proof, connection_id)
    connection = bindable(connection_id, proof.credential.account, path.transport, connections)
    if connection is None:
        return Refusal(StunError.BAD_REQUEST, _UNKNOWN)
    return _bound(connection, path, connections)


def bindable(
    connection_id: int, account: Account, transport: Transport, connections: PeerConnections
) -> PeerConnection | None:
    """The pending connection that this user may bind over ``transport``.

    §4.3: by the same credentials and means as the control connection.  Whose another one is, is
    not told.
    """
    connection = connections.find(connection_id)
    if (
        connection is None
        or connection.state is not ConnectionState.PENDING
        or connection.account != account
        or connection.control is None
        or connection.control.transport is not transport
    ):
        return None
    return connection


def taken(binding: Binding, result: Taken | Failure, connections: PeerConnections) -> Outcome:
    """What comes of asking the other worker."""
    if isinstance(result, Failure):
        return Refusal(StunError.BAD_REQUEST, f"{_UNKNOWN}: {result.reason}")
    if connections.find(binding.connection_id) or connections.on(result.peer):
        return Refusal(StunError.BAD_REQUEST, _UNKNOWN, events=give_back(result))
    connection = PeerConnection(
        binding.connection_id,
        None,
        None,
        binding.proof.credential.account,
        result.peer,
        ConnectionState.PENDING,
    )
    connections.add(connection)
    return _bound(connection, binding.path, connections)


def give_back(result: Taken) -> tuple[ClosePeer, ConnectionReturned]:
    """Nobody here waits for what was taken any more."""
    return ClosePeer(result.peer), ConnectionReturned(result.owner, result.connection_id)


def _bound(connection: PeerConnection, client: Path, connections: PeerConnections) -> Success:
    connections.bind(connection, client)
    return Success(
        events=(
            SpliceConnections(
                connection.allocation_id, connection.connection_id, client, connection.path
            ),
        )
    )
