"""What an allocation tells its shell."""

from dataclasses import dataclass

from natkit.address import Address
from natkit.errors import ErrorResponse, NatkitError
from natkit.machine import ClosePath, CloseSocket, Connect, OpenSocket, Path


@dataclass(frozen=True, slots=True)
class Allocated:
    """The server relays for us at ``relayed``; it sees us at ``mapped``.

    If both families were asked for, ``second`` is the address of the other one, or ``missing`` may
    say why there is none.
    """

    relayed: Address
    mapped: Address | None
    lifetime: float
    second: Address | None = None
    missing: ErrorResponse | None = None


@dataclass(frozen=True, slots=True)
class AllocateFailed:
    """There is no allocation; ``allocate`` may be called again.

    ``error`` is an ErrorResponse by its code, TransactionTimeout, UnreachableError when a stream
    broke, or MalformedMessage when the server's success response was of no use.
    """

    error: NatkitError


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The allocation lives for another ``lifetime`` seconds."""

    lifetime: float


@dataclass(frozen=True, slots=True)
class Moved:
    """The allocation is reached by ``path`` now, with all that it had (RFC 8016)."""

    path: Path


@dataclass(frozen=True, slots=True)
class MoveFailed:
    """The allocation stays where it is; ``error`` tells why."""

    error: NatkitError


@dataclass(frozen=True, slots=True)
class PermissionInstalled:
    """The server relays between us and every port of ``host``; refreshing goes on by itself."""

    host: str


@dataclass(frozen=True, slots=True)
class PermissionFailed:
    """There is no permission for ``host`` (any more), and data that waited for it is dropped."""

    host: str
    error: NatkitError


@dataclass(frozen=True, slots=True)
class ChannelBound:
    """Data to and from ``peer`` now travels on ``channel``, with four bytes of overhead."""

    peer: Address
    channel: int


@dataclass(frozen=True, slots=True)
class ChannelFailed:
    """No channel is bound to ``peer`` (any more); data travels in indications instead."""

    peer: Address
    error: NatkitError


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A datagram from ``peer`` arrived at the relayed address."""

    data: bytes
    peer: Address


@dataclass(frozen=True, slots=True)
class IcmpReceived:
    """An ICMP error came back for what we sent to ``peer``; its port may be 0 (RFC 8656 §11.5).

    ``error_data`` is the MTU of the next hop where the packet was too big, else 0.
    """

    peer: Address
    icmp_type: int
    icmp_code: int
    error_data: int


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """The server is connected to ``peer``; the connection waits to be bound (RFC 6062 §4.3)."""

    peer: Address
    connection_id: int


@dataclass(frozen=True, slots=True)
class PeerConnectionFailed:
    """The server is not connected to ``peer``; ``error`` tells why."""

    peer: Address
    error: NatkitError


@dataclass(frozen=True, slots=True)
class ConnectionAttempted:
    """``peer`` connected to the relayed address; the connection waits to be bound (§4.4)."""

    peer: Address
    connection_id: int


@dataclass(frozen=True, slots=True)
class AllocationLost:
    """The allocation is gone and nobody asked for it; ``error`` tells why."""

    error: NatkitError


@dataclass(frozen=True, slots=True)
class AllocationClosed:
    """``close`` is done; ``confirmed`` when the server said so, else it will forget by itself."""

    confirmed: bool


TurnEvent = (
    Allocated
    | AllocateFailed
    | Refreshed
    | PeerConnected
    | PeerConnectionFailed
    | ConnectionAttempted
    | Moved
    | MoveFailed
    | PermissionInstalled
    | PermissionFailed
    | ChannelBound
    | ChannelFailed
    | DataReceived
    | IcmpReceived
    | AllocationLost
    | AllocationClosed
    | OpenSocket
    | CloseSocket
    | Connect
    | ClosePath
)
"""All that :meth:`natkit.turn.Allocation.next_event` gives; the last four ask the shell."""
