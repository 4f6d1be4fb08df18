"""What a server does for TCP allocations (RFC 6062): the requests that wait, and what crosses.

The machine of :mod:`stun_server.service` asks here, sends the answers and tells the events.
"""

from collections.abc import Iterator
from typing import NamedTuple, assert_never

from natkit.machine import Failure, Path, RandomBytes, RequestId, Transport
from natkit.stun.message import Message
from natkit.stun.registry import StunError
from natkit.timers import TimerQueue
from stun_server.allocation import Allocation
from stun_server.allocations import Allocations
from stun_server.authentication import Account, Proof
from stun_server.connect import CONNECT_TIMEOUT, Connecting, connect, connected
from stun_server.connection_attempt import Attempt, connection_attempt
from stun_server.connection_bind import Binding, bindable, connection_bind, give_back, taken
from stun_server.connection_events import (
    ClosePeer,
    ConnectionEvent,
    ConnectPeer,
    Listening,
    StopListening,
    TakeConnection,
    Taken,
)
from stun_server.outcome import Outcome, Refusal
from stun_server.peer_connections import owner_of
from stun_server.policy import PeerPolicy
from stun_server.settings import Settings

TAKE_TIMEOUT = 5.0
"""Seconds that another worker has to hand a connection over."""

MAX_TAKING = 1024
"""ConnectionBinds that wait for other workers: each holds its message."""

ConnectionResult = Path | Listening | Taken

Unfinished = Connecting | Binding
"""A request that waits for a connection."""


class Concluded(NamedTuple):
    """A request that has waited, and how it ends."""

    request: Message
    path: Path
    proof: Proof
    outcome: Outcome


class TcpAllocations:
    """Connections of peers and for peers, and the requests that wait for them.

    Connects are as many as connections being made, which their limits bound; one whose allocation
    has ended waits until the shell has answered, or for its time.
    """

    def __init__(self, settings: Settings, allocations: Allocations, random: RandomBytes) -> None:
        self._settings = settings
        self._allocations = allocations
        self._connections = allocations.connections
        self._random = random
        self._waiting: dict[RequestId, Unfinished] = {}
        self._timers: TimerQueue[RequestId] = TimerQueue()

    def configure(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def connect(
        self,
        request: Message,
        proof: Proof,
        allocation: Allocation,
        policy: PeerPolicy,
    ) -> Connecting | Outcome:
        """Begin a Connect."""
        return connect(
            request, proof, allocation, self._allocations, policy, self._settings, self._random
        )

    def bind(self, request: Message, path: Path, proof: Proof) -> Binding | Outcome:
        """Do a ConnectionBind on ``path``, on which nothing else is under way."""
        if self._allocations.of_client(path) is not None:
            return Refusal(StunError.BAD_REQUEST, "the connection has an allocation")
        if len(self._waiting) >= MAX_TAKING + self._settings.peer_connections:
            return Refusal(StunError.INSUFFICIENT_CAPACITY, "too many requests wait")
        return connection_bind(request, path, proof, self._connections, self._settings)

    def wait(
        self, request_id: RequestId, unfinished: Unfinished, now: float
    ) -> ConnectPeer | TakeConnection:
        """Have a request wait for the shell's answer; what the shell is asked."""
        self._waiting[request_id] = unfinished
        match unfinished:
            case Connecting(connection=connection):
                self._timers.set(request_id, now + CONNECT_TIMEOUT)
                return ConnectPeer(request_id, connection.path.local, connection.path.remote)
            case Binding(path=path, proof=proof, connection_id=number):
                self._timers.set(request_id, now + TAKE_TIMEOUT)
                account = proof.credential.account
                return TakeConnection(
                    request_id, owner_of(number), number, *account, path.transport
                )
            case _:
                assert_never(unfinished)

    def forget(self, path: Path) -> None:
        """Drop the requests of ``path``, which is gone, or carries data now."""
        for request_id, unfinished in tuple(self._waiting.items()):
            if unfinished.path == path:
                self._drop(request_id)

    # ── what the shell answers ──────────────────────────────────────────────────────────────────

    def answered(
        self, request_id: RequestId, result: ConnectionResult | Failure, now: float
    ) -> Concluded | tuple[ConnectionEvent, ...]:
        """The end of a request, or what is to be done about an answer that came too late."""
        unfinished = self._waiting.get(request_id)
        match unfinished, result:
            case Connecting(), Path() | Failure():
                self._drop(request_id)
                return self._conclude(
                    unfinished, connected(unfinished, result, self._allocations, now)
                )
            case Binding(), Taken() | Failure():
                self._drop(request_id)
                return self._conclude(unfinished, taken(unfinished, result, self._connections))
            case _, Path():
                return (ClosePeer(result),)
            case _, Listening(local):
                return (StopListening(local),)
            case _, Taken():
                return give_back(result)
            case _:
                return ()

    def overdue(self, now: float) -> Iterator[Concluded]:
        """The end of the requests that have waited too long."""
        for request_id in self._timers.pop_due(now):
            unfinished = self._waiting.pop(request_id)
            late = Failure("no answer in time")
            match unfinished:
                case Connecting():
                    outcome = connected(unfinished, late, self._allocations, now)
                case Binding():
                    outcome = taken(unfinished, late, self._connections)
                case _:
                    assert_never(unfinished)
            yield self._conclude(unfinished, outcome)

    def next_deadline(self) -> float | None:
        """When the next request has waited too long."""
        return self._timers.next_deadline()

    def may_be_overdue(self, now: float) -> bool:
        """Whether there may be something for :meth:`overdue`: a quick look."""
        return self._timers.may_be_due(now)

    @staticmethod
    def _conclude(unfinished: Unfinished, outcome: Outcome) -> Concluded:
        return Concluded(unfinished.request, unfinished.path, unfinished.proof, outcome)

    def _drop(self, request_id: RequestId) -> None:
        del self._waiting[request_id]
        self._timers.cancel(request_id)

    # ── connections that come and go ────────────────────────────────────────────────────────────

    def accepted(self, path: Path, limits: Settings, now: float) -> Attempt:
        """A peer connected; ``limits`` are those of the realm of the allocation."""
        return connection_attempt(path, self._allocations, limits, self._random, now)

    def ended(self, path: Path) -> tuple[ConnectionEvent, ...]:
        """A connection that carries data, or was to, is over: either end of it is ``path``."""
        connection = self._connections.on(path)
        return () if connection is None else self._connections.end(connection)

    # ── between workers (§5.4: any of them may get the ConnectionBind) ──────────────────────────

    def give(self, connection_id: int, account: Account, transport: Transport) -> Path | None:
        """Let another worker have a pending connection; None when this account may not bind it."""
        connection = bindable(connection_id, account, transport, self._connections)
        if connection is None:
            return None
        self._connections.give(connection)
        return connection.path

    def end(self, connection_id: int, *, given: bool) -> tuple[ConnectionEvent, ...]:
        """End one that was ``given`` to another worker, or that was taken from one."""
        connection = self._connections.find(connection_id)
        if connection is None or (connection.allocation_id is not None) is not given:
            return ()
        return self._connections.end(connection)
