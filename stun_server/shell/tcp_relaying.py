"""The connections of TCP allocations: listens, connects, keeps them unread, and splices them.

What a peer sends before its connection is bound stays in the system's buffer, whose window holds it
back (RFC 6062 §5.2, §5.3); so such a connection can also go to another process as it is.
"""

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeGuard, assert_never

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.splice import Splice, reset
from natkit.aio.system_errors import failure, reason
from natkit.errors import UnreachableError
from natkit.machine import Failure, Path, Transport
from natkit.net import sockaddr
from natkit.relay.plane import Counters, RelayPlane
from stun_server.connection_events import (
    ClosePeer,
    ConnectionReturned,
    ConnectionRevoked,
    ConnectPeer,
    ListenForPeers,
    Listening,
    SpliceConnections,
    StopListening,
    TakeConnection,
    Taken,
)
from stun_server.events import (
    AllocationClosed,
    AllocationOpened,
    AllocationRefreshed,
    ChannelBound,
    ChannelRevoked,
    PermissionInstalled,
    PermissionRevoked,
    RelayedAddressClosed,
    ServerEvent,
)
from stun_server.service import Server, ServerResult
from stun_server.shell.clients import Clients
from stun_server.shell.peer_listener import PeerListener

__all__ = ["AllocationEvent", "ConnectionRequest", "Crossing", "Relayed", "TcpRelaying"]

CLOSING = 30.0
"""Seconds that a connection whose other end is gone has to read on, each time it reads nothing."""

ConnectionRequest = (
    ListenForPeers
    | StopListening
    | ConnectPeer
    | TakeConnection
    | SpliceConnections
    | ClosePeer
    | ConnectionRevoked
    | ConnectionReturned
)


AllocationEvent = (
    AllocationOpened
    | AllocationRefreshed
    | AllocationClosed
    | RelayedAddressClosed
    | PermissionInstalled
    | PermissionRevoked
    | ChannelBound
    | ChannelRevoked
)


class Crossing(Protocol):
    """The way to the other workers, where there are any."""

    def take(self, request: TakeConnection) -> None:
        """Get the connection from its owner; then ``TcpRelaying.taken`` or a Failure answers."""
        ...

    def tell(self, event: ConnectionRevoked | ConnectionReturned) -> None:
        """Pass it on: Revoked to whom it was given, Returned to its owner."""
        ...


@dataclass(slots=True, eq=False)
class _Live:
    """A splice, and when it last moved anything."""

    splice: Splice
    over: asyncio.Future[None]
    moved: tuple[int, int] = (0, 0)
    moved_at: float = 0.0


class TcpRelaying:
    """Fulfils what the machine asks for the connections of TCP allocations.

    A connection that passes nothing for ``idle`` seconds is cut.  ``crossing`` leads to the other
    workers, once set.
    """

    def __init__(self, clients: Clients, idle: float) -> None:
        self.crossing: Crossing | None = None
        self._loop = asyncio.get_running_loop()
        self._clients = clients
        self.idle = idle
        self._machine: Server | None = None
        self._driver: Driver[ServerEvent, ServerResult] | None = None
        self._listeners: dict[Address, PeerListener] = {}
        self._connecting: dict[Path, asyncio.Task[None]] = {}
        self._unread: dict[Path, socket.socket] = {}
        self._splices: dict[Path, _Live] = {}
        self._closing: set[_Live] = set()
        self._joining: set[asyncio.Task[None]] = set()
        self._counters: dict[int, Counters] = {}
        self._others = Counters()
        self._sweeper: asyncio.TimerHandle | None = None

    def use(self, machine: Server, driver: Driver[ServerEvent, ServerResult]) -> None:
        """The machine whose connections these are."""
        self._machine, self._driver = machine, driver

    # ── the machine's events ────────────────────────────────────────────────────────────────────

    def concerns(self, event: ServerEvent) -> TypeGuard[AllocationEvent]:
        """Whether it tells of a TCP allocation, which the plane does not know."""
        match event:
            case AllocationOpened(number, peers=Transport.TCP):
                self._counters[number] = Counters()
                return True
            case AllocationClosed(number):
                counters = self._counters.pop(number, None)
                if counters is None:
                    return False
                self._others.add(counters)
                return True
            case (
                AllocationRefreshed(number)
                | RelayedAddressClosed(number)
                | PermissionInstalled(number)
                | PermissionRevoked(number)
                | ChannelBound(number)
                | ChannelRevoked(number)
            ):
                return number in self._counters
            case _:
                return False

    def fulfil(self, event: ConnectionRequest) -> None:
        """Do what the machine asks for."""
        match event:
            case ListenForPeers():
                self._listen(event)
            case StopListening(local):
                listener = self._listeners.pop(local, None)
                if listener is not None:
                    listener.close()
            case ConnectPeer():
                self._connect(event)
            case SpliceConnections():
                self._splice(event)
            case ClosePeer(path):
                self._close(path)
            case TakeConnection(request_id):
                if self.crossing is not None:
                    self.crossing.take(event)
                else:
                    self._answer(request_id, Failure("there is no other worker"))
            case ConnectionRevoked() | ConnectionReturned():
                if self.crossing is not None:
                    self.crossing.tell(event)
            case _:
                assert_never(event)

    # ── between workers ─────────────────────────────────────────────────────────────────────────

    def give(self, path: Path) -> socket.socket | None:
        """Let go of a connection that nobody has read from, to send it to another worker."""
        return self._unread.pop(path, None)

    def taken(self, request: TakeConnection, sock: socket.socket, path: Path) -> None:
        """A connection came from its owner; it is this shell's now."""
        sock.setblocking(False)
        self._unread[path] = sock
        self._answer(request.request_id, Taken(request.owner, request.connection_id, path))

    # ── counters ────────────────────────────────────────────────────────────────────────────────

    def counters(self, allocation_id: int) -> Counters | None:
        """What passed on the connections of a TCP allocation; None if it is none."""
        return self._counters.get(allocation_id)

    def totals(self) -> Counters:
        """What passed on all connections since the start."""
        totals = Counters()
        totals.add(self._others)
        for counters in self._counters.values():
            totals.add(counters)
        return totals

    def __len__(self) -> int:
        """Connections to peers, also those that are being closed."""
        return len(self._connecting) + len(self._unread) + len(self._splices) + len(self._closing)

    def waiting(self) -> tuple[int, ...]:
        """Bytes that each spliced connection keeps for ends that have not read them."""
        return tuple(live.splice.waiting for live in self._splices.values())

    # ── listening and connecting ────────────────────────────────────────────────────────────────

    def _listen(self, request: ListenForPeers) -> None:
        try:
            listener = PeerListener(request.local, self._accepted)
        except UnreachableError as error:
            self._answer(request.request_id, failure(error))
            return
        self._listeners[listener.local] = listener
        self._answer(request.request_id, Listening(listener.local))

    def _accepted(self, sock: socket.socket, path: Path) -> None:
        machine, driver = self._machine, self._driver
        if machine is None or driver is None:
            sock.close()
            return
        if path in self._unread or path in self._splices:
            # The system would not have accepted it before the end of the one before.
            driver.disconnected(path)
        self._unread[path] = sock
        driver.run(partial(machine.accepted, path))

    def _connect(self, request: ConnectPeer) -> None:
        path = Path(Transport.TCP, request.local, request.peer)
        listener = self._listeners.get(request.local)
        try:
            if listener is None:
                raise UnreachableError(f"nobody listens on {request.local}")
            sock = listener.outgoing()
        except UnreachableError as error:
            self._answer(request.request_id, failure(error))
            return
        task = self._loop.create_task(self._reach(request.request_id, sock, path))
        self._connecting[path] = task

    async def _reach(self, request_id: int, sock: socket.socket, path: Path) -> None:
        remote = sockaddr.to_python(sockaddr.pack(path.remote))
        try:
            await self._loop.sock_connect(sock, remote)
        except OSError as error:
            sock.close()
            del self._connecting[path]
            self._answer(request_id, Failure(f"cannot connect to {path.remote}: {reason(error)}"))
            return
        except asyncio.CancelledError:
            sock.close()
            self._connecting.pop(path, None)
            self._answer(request_id, Failure("the attempt was given up"))
            return
        del self._connecting[path]
        self._unread[path] = sock
        self._answer(request_id, path)

    # ── splicing and closing ────────────────────────────────────────────────────────────────────

    def _splice(self, event: SpliceConnections) -> None:
        sock = self._unread.pop(event.peer, None)
        detached = self._clients.detach(event.client)
        if sock is None or detached is None:
            if sock is not None:
                sock.close()
            if detached is not None:
                detached.transport.abort()
            self._loop.call_soon(self._ended, event.peer)
            return
        counters = self._others
        if event.allocation_id is not None:
            counters = self._counters.get(event.allocation_id, counters)

        def count(to_peer: int, to_client: int) -> None:
            counters.bytes_to_peers += to_peer
            counters.bytes_to_clients += to_client

        def ended() -> None:
            if not detached.lost.done():
                detached.lost.set_result(None)
            self._closing.discard(live)
            if self._splices.get(event.peer) is live:
                self._ended(event.peer)

        splice = Splice(detached.transport, count, ended)
        live = _Live(splice, detached.lost, moved_at=self._loop.time())
        self._splices[event.peer] = live
        self._sweep_later()
        task = self._loop.create_task(self._join(splice, sock, detached.rest))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, splice: Splice, sock: socket.socket, rest: bytes) -> None:
        try:
            await splice.join(sock, rest)
        except OSError:
            # The peer was gone already: the client's connection is, too.
            return

    def _ended(self, path: Path) -> None:
        """Connections that nobody asked to close are over."""
        self._splices.pop(path, None)
        if self._driver is not None:
            self._driver.disconnected(path)

    def _close(self, path: Path) -> None:
        task = self._connecting.pop(path, None)
        if task is not None:
            task.cancel()
        sock = self._unread.pop(path, None)
        if sock is not None:
            # Nobody reads what it may have sent, so the peer is told that it was for nothing.
            reset(sock)
        live = self._splices.pop(path, None)
        if live is not None:
            live.moved_at = self._loop.time()
            self._closing.add(live)
            live.splice.close()

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            delay = min(self.idle, CLOSING) / 4
            self._sweeper = self._loop.call_later(delay, self._sweep)

    def _sweep(self) -> None:
        """Cut what does not move."""
        self._sweeper = None
        now = self._loop.time()
        for live in (*self._splices.values(), *self._closing):
            limit = CLOSING if live in self._closing else self.idle
            moved = (live.splice.passed, live.splice.waiting)
            if moved != live.moved:
                live.moved, live.moved_at = moved, now
            elif now - live.moved_at >= limit:
                live.splice.abort()
        if self._splices or self._closing:
            self._sweep_later()

    def _answer(self, request_id: int, result: ServerResult | Failure) -> None:
        if self._driver is not None:
            self._driver.answer(request_id, result)

    async def aclose(self) -> None:
        """Close everything; the machine hears no more of it."""
        self._driver = None
        if self._sweeper is not None:
            self._sweeper.cancel()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        tasks = (*self._connecting.values(), *self._joining)
        for task in self._connecting.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for path in tuple(self._unread):
            self._close(path)
        held = (*self._splices.values(), *self._closing)
        for live in held:
            live.splice.abort()
        await asyncio.gather(*(live.over for live in held))


class Relayed:
    """What was relayed, by the plane and by connections."""

    def __init__(self, plane: RelayPlane, connections: TcpRelaying) -> None:
        self._plane = plane
        self._connections = connections

    def counters(self, allocation_id: int) -> Counters:
        """Of a live allocation."""
        counters = self._connections.counters(allocation_id)
        return counters if counters is not None else self._plane.counters(allocation_id)

    def totals(self) -> Counters:
        """Of all since the start."""
        totals = self._plane.totals()
        totals.add(self._connections.totals())
        return totals
