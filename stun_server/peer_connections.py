"""The peer data connections of TCP allocations, and their limits (RFC 6062 §5.2 to §5.5)."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from natkit.address import Address
from natkit.machine import Path
from natkit.stun.registry import StunError
from natkit.timers import TimerQueue
from stun_server.authentication import Account
from stun_server.connection_events import (
    ClosePeer,
    ConnectionEvent,
    ConnectionReturned,
    ConnectionRevoked,
    PeerConnectionClosed,
)
from stun_server.outcome import Refusal
from stun_server.settings import Settings
from stun_server.sharing import Counts

BIND_TIMEOUT = 30.0
"""Seconds that a peer data connection waits for its ConnectionBind (RFC 6062 §5.2, §5.3)."""

WORKER_SHIFT = 24
"""The bits of a CONNECTION-ID below the number of the worker that has the connection."""


def owner_of(connection_id: int) -> int:
    """The number of the worker that has the peer data connection."""
    return connection_id >> WORKER_SHIFT


class ConnectionState(Enum):
    """How far a peer data connection is; one that is GIVEN is bound at another worker."""

    CONNECTING = auto()
    PENDING = auto()
    BOUND = auto()
    GIVEN = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class PeerConnection:
    """A connection between a relayed address and a peer.

    ``control`` is the path of the allocation's client; ``client`` is the client data connection,
    once there is one.  One that was taken from another worker has neither ``control`` nor
    ``allocation_id``.
    """

    connection_id: int
    allocation_id: int | None
    control: Path | None
    account: Account
    path: Path
    state: ConnectionState
    client: Path | None = None


class PeerConnections:
    """Finds them by id, by either of their paths and by allocation, and keeps their limits.

    ``counts`` has those of all workers by account, each counted where its allocation is.
    """

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self._settings = settings
        self._counts = counts
        self._by_id: dict[int, PeerConnection] = {}
        self._by_path: dict[Path, PeerConnection] = {}
        self._by_client: dict[Path, PeerConnection] = {}
        self._by_allocation: dict[int, dict[int, PeerConnection]] = {}
        self._unbound: TimerQueue[int] = TimerQueue()

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self._by_id

    def find(self, connection_id: int) -> PeerConnection | None:
        """The connection of that id."""
        return self._by_id.get(connection_id)

    def on(self, path: Path) -> PeerConnection | None:
        """The connection that either ends on ``path``."""
        return self._by_path.get(path) or self._by_client.get(path)

    def count(self, allocation_id: int) -> int:
        """How many an allocation has."""
        return len(self._by_allocation.get(allocation_id, ()))

    def refusal(self, allocation_id: int, account: Account, limits: Settings) -> Refusal | None:
        """Why there can't be one more, by the ``limits`` of the account's realm, if so."""
        held = self._by_allocation.get(allocation_id, {})
        unbound = sum(
            each.state in (ConnectionState.CONNECTING, ConnectionState.PENDING)
            for each in held.values()
        )
        if unbound >= limits.unbound_connections_per_allocation:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "too many connections wait to be bound")
        if len(held) >= limits.peer_connections_per_allocation:
            return Refusal(
                StunError.INSUFFICIENT_CAPACITY, "the allocation has as many connections as it may"
            )
        if self._counts.of(account.name) >= limits.peer_connections_per_user:
            return Refusal(
                StunError.ALLOCATION_QUOTA_REACHED,
                f"{account.username} has as many connections as one user may",
            )
        if self._counts.in_all() >= self._settings.peer_connections:
            return Refusal(
                StunError.INSUFFICIENT_CAPACITY, "the server has as many connections as it grants"
            )
        return None

    def add(self, connection: PeerConnection) -> None:
        """Take in one that is new; it counts from now on."""
        self._by_id[connection.connection_id] = connection
        self._by_path[connection.path] = connection
        if connection.allocation_id is not None:
            held = self._by_allocation.setdefault(connection.allocation_id, {})
            held[connection.connection_id] = connection
            self._counts.add(connection.account.name, 1)

    def await_binding(self, connection: PeerConnection, now: float) -> None:
        """It stands, and waits for its ConnectionBind."""
        connection.state = ConnectionState.PENDING
        self._unbound.set(connection.connection_id, now + BIND_TIMEOUT)

    def bind(self, connection: PeerConnection, client: Path) -> None:
        """``client`` is its client data connection."""
        connection.state = ConnectionState.BOUND
        connection.client = client
        self._by_client[client] = connection
        self._unbound.cancel(connection.connection_id)

    def give(self, connection: PeerConnection) -> None:
        """Another worker has it from now on; it counts here until it is returned."""
        connection.state = ConnectionState.GIVEN
        self._unbound.cancel(connection.connection_id)

    def end(self, connection: PeerConnection) -> tuple[ConnectionEvent, ...]:
        """Forget it; what the shell is to know and do."""
        before = connection.state
        connection.state = ConnectionState.ENDED
        del self._by_id[connection.connection_id]
        del self._by_path[connection.path]
        self._unbound.cancel(connection.connection_id)
        if connection.client is not None:
            del self._by_client[connection.client]
        close = ClosePeer(connection.path)
        if connection.allocation_id is None:
            owner = owner_of(connection.connection_id)
            return close, ConnectionReturned(owner, connection.connection_id)
        self._uncount(connection, connection.allocation_id)
        if before is ConnectionState.CONNECTING:
            return (close,)
        closed = PeerConnectionClosed(
            connection.allocation_id,
            connection.connection_id,
            connection.path.remote,
            bound=before is not ConnectionState.PENDING,
        )
        if before is ConnectionState.GIVEN:
            return ConnectionRevoked(connection.connection_id), closed
        return close, closed

    def end_all(
        self, allocation_id: int, relayed: Collection[Address]
    ) -> tuple[ConnectionEvent, ...]:
        """The allocation's ``relayed`` addresses end, and their connections (RFC 6062 §5.5)."""
        held = self.of_allocation(allocation_id)
        return tuple(
            event
            for connection in held
            if connection.path.local in relayed
            for event in self.end(connection)
        )

    def of_allocation(self, allocation_id: int) -> tuple[PeerConnection, ...]:
        """Those of an allocation."""
        return tuple(self._by_allocation.get(allocation_id, {}).values())

    def may_expire(self, now: float) -> bool:
        """Whether there may be something for :meth:`end_unbound`: a quick look."""
        return self._unbound.may_be_due(now)

    def end_unbound(self, now: float) -> tuple[ConnectionEvent, ...]:
        """End those that waited too long for their ConnectionBind."""
        due = tuple(self._unbound.pop_due(now))
        return tuple(event for number in due for event in self.end(self._by_id[number]))

    def next_deadline(self) -> float | None:
        """When the next one has waited too long."""
        return self._unbound.next_deadline()

    def _uncount(self, connection: PeerConnection, allocation_id: int) -> None:
        held = self._by_allocation[allocation_id]
        del held[connection.connection_id]
        if not held:
            del self._by_allocation[allocation_id]
        self._counts.add(connection.account.name, -1)
