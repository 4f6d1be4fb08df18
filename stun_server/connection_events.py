"""What the server machine tells its shell about the connections of TCP allocations (RFC 6062).

A peer data connection is named by its path: TCP, the relayed address, the peer.  The shell reads
nothing from it before :class:`SpliceConnections`, so that what the peer sent waits in the system,
whose window holds the peer back.

Requests: :class:`ListenForPeers` (:class:`Listening`, or Failure), :class:`ConnectPeer` (its Path,
or Failure) and :class:`TakeConnection` (:class:`Taken`, or Failure).  Each is answered, also when
the machine has given it up.
"""

from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Path, Request, Transport


@dataclass(frozen=True, slots=True)
class ListenForPeers(Request):
    """Accept TCP connections at ``local`` and tell each; nobody else may listen there."""

    local: Address


@dataclass(frozen=True, slots=True)
class Listening:
    """The result of ListenForPeers."""

    local: Address


@dataclass(frozen=True, slots=True)
class StopListening:
    """Accept no more connections at ``local``; no answer."""

    local: Address


@dataclass(frozen=True, slots=True)
class ConnectPeer(Request):
    """Connect from ``local``, which listens, to ``peer``.

    A ClosePeer that names the path gives it up.
    """

    local: Address
    peer: Address


@dataclass(frozen=True, slots=True)
class TakeConnection(Request):
    """Get a pending connection from the worker ``owner``.

    It gives it to this user of ``realm`` alone, and over ``transport``: its machine is asked by
    ``Server.give_connection``.  The connection crosses unread.
    """

    owner: int
    connection_id: int
    username: str
    realm: str
    transport: Transport


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of TakeConnection: ``peer`` is a connection of this shell's from now on."""

    owner: int
    connection_id: int
    peer: Path


@dataclass(frozen=True, slots=True)
class SpliceConnections:
    """``client`` is a client data connection now: pass bytes between it and ``peer``, both ways.

    What follows the ConnectionBind request on the client's connection is data (RFC 6062 §5.4).
    The end of either is told by ``disconnected``.
    """

    allocation_id: int | None
    """None: the allocation is another worker's."""
    connection_id: int
    client: Path
    peer: Path


@dataclass(frozen=True, slots=True)
class ClosePeer:
    """Close the connection ``peer``, or give up connecting it, and what it is spliced with."""

    peer: Path


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer data connection waits for its ConnectionBind.

    ``attempted``: the peer connected to the relayed address; else the client asked for it.
    """

    allocation_id: int
    connection_id: int
    peer: Address
    attempted: bool


@dataclass(frozen=True, slots=True)
class PeerConnectionRefused:
    """A peer's attempt ended at once; ``reason`` is a line for a person."""

    allocation_id: int
    peer: Address
    reason: str


@dataclass(frozen=True, slots=True)
class PeerConnectionClosed:
    """A peer data connection is over; ``bound`` tells whether it had a client data connection."""

    allocation_id: int
    connection_id: int
    peer: Address
    bound: bool


@dataclass(frozen=True, slots=True)
class ConnectionRevoked:
    """The allocation of a connection that another worker took has ended, and so must that."""

    connection_id: int


@dataclass(frozen=True, slots=True)
class ConnectionReturned:
    """A connection that was taken from ``owner`` is over, and counts there no more."""

    owner: int
    connection_id: int


ConnectionEvent = (
    ListenForPeers
    | StopListening
    | ConnectPeer
    | TakeConnection
    | SpliceConnections
    | ClosePeer
    | PeerConnected
    | PeerConnectionRefused
    | PeerConnectionClosed
    | ConnectionRevoked
    | ConnectionReturned
)
