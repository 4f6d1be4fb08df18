"""What the server machine tells its shell: facts to log and to pass to the plane, and requests.

Requests: :class:`~natkit.machine.OpenSocket` (the bound Address, or Failure),
:class:`FindCredential`, and those of :mod:`stun_server.connection_events`.
:class:`~natkit.machine.CloseSocket`, or StopListening, follows every :class:`AllocationClosed` and
:class:`RelayedAddressClosed`, and ends a reserved port that nobody came for.
"""

from dataclasses import dataclass
from enum import StrEnum

from natkit.address import Address, Family
from natkit.machine import CloseSocket, OpenSocket, Path, Request, Transmit, Transport
from stun_server.connection_events import ConnectionEvent
from stun_server.policy import Rule
from stun_server.settings import PortRange


class CloseReason(StrEnum):
    """Why an allocation ended."""

    EXPIRED = "expired"
    DELETED = "deleted"
    DISCONNECTED = "disconnected"
    ENDED = "ended by the operator"


@dataclass(frozen=True, slots=True)
class AllocationOpened:
    """A client owns ``relayed`` until ``until``; ``allocation_id`` is never used again.

    ``peers`` is how it exchanges data with them: by UDP, or by TCP connections (RFC 6062).
    """

    allocation_id: int
    client: Path
    relayed: Address
    username: str
    until: float
    second: Address | None = None
    """The relayed address of the other family, of a dual allocation (RFC 8656 §7.2)."""
    peers: Transport = Transport.UDP
    realm: str = ""
    """The user's, where users have one."""

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """The one relayed address, or both."""
        return (self.relayed,) if self.second is None else (self.relayed, self.second)


@dataclass(frozen=True, slots=True)
class AllocationRefreshed:
    """The allocation now lives until ``until``, which may be earlier than before.

    Of a dual allocation its address of ``family`` alone, or both if that is None.
    """

    allocation_id: int
    until: float
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class AllocationClosed:
    """The allocation is gone with all its permissions and channels."""

    allocation_id: int
    client: Path
    relayed: Address
    reason: CloseReason
    username: str
    second: Address | None = None
    """The relayed address of the other family, if there still was one."""

    @property
    def relayed_addresses(self) -> tuple[Address, ...]:
        """The one relayed address that it had, or both."""
        return (self.relayed,) if self.second is None else (self.relayed, self.second)


@dataclass(frozen=True, slots=True)
class RelayedAddressClosed:
    """A dual allocation has lost ``relayed``, with the permissions and channels of its family.

    The other address lives on.
    """

    allocation_id: int
    relayed: Address
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class ClientExpected:
    """The allocation's client has announced ``client`` as its next 5-tuple (RFC 8016 §3.2.2).

    Until AllocationMoved data goes to the old one; what comes on the new one is the machine's.  The
    event comes at most once before ClientUnexpected, AllocationMoved or AllocationClosed.
    """

    allocation_id: int
    client: Path


@dataclass(frozen=True, slots=True)
class ClientUnexpected:
    """The client will not come on the ``client`` that it announced."""

    allocation_id: int
    client: Path


@dataclass(frozen=True, slots=True)
class AllocationMoved:
    """The client is now at ``client`` and nowhere else, with all that the allocation has."""

    allocation_id: int
    before: Path
    client: Path


@dataclass(frozen=True, slots=True)
class AllocationDetached:
    """The connection ``client`` ended, and the allocation waits for its client to move.

    Data from peers is dropped meanwhile; ``client`` may be another's from now on.
    """

    allocation_id: int
    client: Path


@dataclass(frozen=True, slots=True)
class AllocationGivenAway:
    """Another worker goes on with the allocation: its relay socket is to go there, not to close.

    ``relayed_addresses`` are two where it is a dual allocation, with a socket each.
    """

    allocation_id: int
    client: Path
    relayed_addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class PermissionInstalled:
    """Peers at ``peer_host`` may exchange data with the client until ``until``.

    ``only_relayed``: policy refuses this host, and the permission rests on one of this server's own
    relayed addresses there.  Data then passes, both ways, only while the peer's address and port
    are a live relayed address of this server: the permission must not open the host's other ports.
    Where policy refuses a host but for some ``ports``, data passes from and to these as well.
    A later event for the same host replaces an earlier one.
    """

    allocation_id: int
    peer_host: str
    until: float
    only_relayed: bool
    ports: tuple[PortRange, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelBound:
    """``channel`` stands for ``peer`` until ``until``; ``only_relayed`` as in PermissionInstalled.

    The permission that comes with it is an event of its own, just before this one.
    """

    allocation_id: int
    channel: int
    peer: Address
    until: float
    only_relayed: bool


@dataclass(frozen=True, slots=True)
class PermissionRevoked:
    """``rule`` of a policy that was changed refuses ``peer_host``, which was permitted before."""

    allocation_id: int
    peer_host: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class ChannelRevoked:
    """``channel`` stands for ``peer`` no more; PermissionRevoked of the peer's host says why."""

    allocation_id: int
    channel: int
    peer: Address


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """``rule`` of the peer policy refused ``peer``, and the request with it."""

    allocation_id: int
    peer: Address
    rule: Rule


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request was answered with ``code``; ``reason`` is a line for a person, never sent.

    ``username`` is who sent it or, without a proof, says so; empty where nobody is named.
    The challenge that opens every long-term conversation is no refusal and has no event.
    """

    path: Path
    method: int
    code: int
    reason: str
    username: str = ""


@dataclass(frozen=True, slots=True)
class FindCredential(Request):
    """Look up the user of ``realm`` by ``username`` or, if that is None, by ``userhash``.

    Result: Credential, None for an unknown user, or Failure when the store cannot say.
    """

    realm: str
    username: str | None
    userhash: bytes | None


@dataclass(frozen=True, slots=True)
class TakeAllocation(Request):
    """Fetch an allocation, with its relay socket, from the worker that has it (RFC 8016 §3.2.2).

    The owner is asked by ``Server.give_away``, with the ticket and the account of ``username`` and
    ``realm``.  Result: its Snapshot once the relay socket is here, or Failure.
    """

    owner: int
    ticket: bytes
    username: str
    realm: str


@dataclass(frozen=True, slots=True)
class TakeReservation(Request):
    """Fetch a reserved port, with its socket, from the worker that keeps it.

    The owner is asked by ``Server.give_reservation``, with the account of ``username`` and
    ``realm``.  Result: the Address once its socket is here, or Failure.
    """

    owner: int
    token: bytes
    username: str
    realm: str
    may_count: bool


@dataclass(frozen=True, slots=True)
class UnfragmentedTransmit(Transmit):
    """A datagram to send with the Don't Fragment bit set (RFC 8656 §14)."""


ServerEvent = (
    AllocationOpened
    | AllocationRefreshed
    | AllocationClosed
    | ClientExpected
    | ClientUnexpected
    | AllocationMoved
    | AllocationDetached
    | AllocationGivenAway
    | TakeAllocation
    | TakeReservation
    | RelayedAddressClosed
    | PermissionInstalled
    | ChannelBound
    | PermissionRevoked
    | ChannelRevoked
    | PeerRefused
    | RequestRefused
    | FindCredential
    | OpenSocket
    | CloseSocket
    | ConnectionEvent
)
