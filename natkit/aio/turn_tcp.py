"""TURN with TCP to the peers, on asyncio: connections out and in through a server (RFC 6062).

::

    async with allocate_tcp(
        "turn:turn.example.org?transport=tcp", username="ann", password="secret"
    ) as relay:
        stream = await relay.connect(Address("192.0.2.9", 80))
        stream.writer.write(b"hello")
        answer = await stream.reader.read(100)
        await relay.permit(Address("192.0.2.7", 0))
        async for stream in relay.incoming():
            ...
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Never

from natkit.address import Address, Family
from natkit.aio.driver import Driver
from natkit.aio.secure import ALPN_TURN, SYSTEM_TRUST, Trust, client_connections
from natkit.aio.system_locator import SystemLocator
from natkit.aio.tcp import StreamConnections
from natkit.aio.turn import Allocation, allocate_somewhere, fail, forget, settle, turn_targets
from natkit.errors import MisuseError, NatkitError, TransactionTimeout, UnreachableError
from natkit.locate import Locator, Target
from natkit.machine import ClosePath, Connect, Path, Transport
from natkit.stun.framing import StunFraming
from natkit.turn.data_connection import (
    HOLD_AFTER,
    DataConnection,
    DataConnectionBound,
    DataConnectionEvent,
    DataConnectionFailed,
)
from natkit.turn.events import ConnectionAttempted, PeerConnected, PeerConnectionFailed
from natkit.turn.tcp_allocation import TcpAllocation as Machine

__all__ = ["PeerStream", "TcpAllocation", "allocate_tcp"]

ATTEMPTS_QUEUE: Final = 64
"""Peers that wait for ``accept``; then the oldest is left to the server, which closes it."""


@dataclass(frozen=True, slots=True)
class PeerStream:
    """A connection with ``peer`` through the server, as asyncio's streams have it.

    Its end is the peer's, the server's, or that of the allocation.
    """

    peer: Address
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def aclose(self) -> None:
        """Close it, once what was written has left; a connection that broke is no error."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


class TcpAllocation(Allocation):
    """A relayed address for TCP, in the hands of an asyncio program; by :func:`allocate_tcp`.

    ``permit`` decides which hosts may connect to it.  It sends and receives no datagrams.
    """

    def __init__(self, machine: Machine, server: Target, trust: Trust) -> None:
        super().__init__(machine, server, trust)
        self._tcp = machine
        self._trust = trust
        self._connects: dict[Address, set[asyncio.Future[int]]] = {}
        self._attempts: deque[tuple[Address, int]] = deque()
        self._attempted = asyncio.Event()

    async def connect(self, peer: Address) -> PeerStream:
        """A connection to ``peer``, which sees it come from the relayed address.

        Raises Forbidden, ConnectionFailed when the peer can't be reached, ConnectionAlreadyExists
        and other ErrorResponses, TransactionTimeout, UnreachableError, or why the allocation ended;
        MisuseError for a peer of another family than the relayed address.
        """
        self._check()
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._connects.setdefault(peer, set()).add(waiter)
        try:
            self._driver.run(lambda now: self._tcp.connect(peer, now))
            connection_id = await waiter
        finally:
            forget(self._connects, peer, waiter)
        return await self._bind(peer, connection_id)

    async def accept(self) -> PeerStream:
        """The next connection of a permitted peer; raises why the allocation ended.

        A peer that is gone before it could be accepted is passed over.
        """
        while True:
            while not self._attempts:
                self._check()
                self._attempted.clear()
                await self._attempted.wait()
            peer, connection_id = self._attempts.popleft()
            try:
                return await self._bind(peer, connection_id)
            except NatkitError:
                self._check()

    async def incoming(self) -> AsyncIterator[PeerStream]:
        """The connections of permitted peers, one after the other, without end."""
        while True:
            yield await self.accept()

    async def send(self, data: bytes, peer: Address) -> Never:  # noqa: ARG002 - inherited
        """MisuseError."""
        raise MisuseError("a TCP allocation carries no datagrams")

    async def receive(self) -> Never:
        """MisuseError."""
        raise MisuseError("a TCP allocation carries no datagrams")

    async def _bind(self, peer: Address, connection_id: int) -> PeerStream:
        binding = _Binding(self._tcp.data_connection(connection_id), self.server, self._trust)
        return await binding.bind(peer)

    def _on_connection_event(
        self, event: PeerConnected | PeerConnectionFailed | ConnectionAttempted
    ) -> None:
        match event:
            case PeerConnected(peer, connection_id):
                settle(self._connects.get(peer), connection_id)
            case PeerConnectionFailed(peer, error):
                fail(self._connects.get(peer), error)
            case ConnectionAttempted(peer, connection_id):
                if len(self._attempts) >= ATTEMPTS_QUEUE:
                    self._attempts.popleft()
                self._attempts.append((peer, connection_id))
                self._attempted.set()

    def _end(self, error: NatkitError) -> None:
        super()._end(error)
        for connects in self._connects.values():
            fail(connects, error)
        self._attempts.clear()
        self._attempted.set()


class _Binding:
    """Opens one client data connection."""

    def __init__(self, machine: DataConnection, server: Target, trust: Trust) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._machine = machine
        self._streams: StreamConnections = client_connections(
            server, (ALPN_TURN,), trust, partial(StunFraming, hold_after=HOLD_AFTER)
        )
        self._stream: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            self._loop.create_future()
        )
        self._driver: Driver[DataConnectionEvent, Path] = Driver(
            self._machine, self._on_event, streams=self._streams
        )

    async def bind(self, peer: Address) -> PeerStream:
        try:
            self._driver.run(self._machine.start)
            return PeerStream(peer, *await self._stream)
        except asyncio.CancelledError:
            if not self._stream.cancelled() and self._stream.exception() is None:
                self._stream.result()[1].close()
            raise
        finally:
            await self._driver.aclose()

    def _on_event(self, event: DataConnectionEvent) -> None:
        match event:
            case DataConnectionBound(path):
                self._take(path)
            case DataConnectionFailed(error):
                if not self._stream.done():
                    self._stream.set_exception(error)
            case Connect() | ClosePath():
                raise AssertionError(f"the driver fulfils {event}")

    def _take(self, path: Path) -> None:
        """The connection is the peer's: from now on it is read and written as it is."""
        detached = self._streams.detach(path)
        if detached is None or self._stream.done():
            if detached is not None:
                detached.transport.abort()
            if not self._stream.done():
                error = UnreachableError(f"{self._server.address} closed the connection")
                self._stream.set_exception(error)
            return
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        detached.transport.set_protocol(protocol)
        protocol.connection_made(detached.transport)
        detached.transport.resume_reading()
        if detached.rest:
            reader.feed_data(detached.rest)
        writer = asyncio.StreamWriter(detached.transport, protocol, reader, self._loop)
        self._stream.set_result((reader, writer))


@asynccontextmanager
async def allocate_tcp(
    uri: str,
    *,
    username: str,
    password: str,
    locator: Locator | None = None,
    trust: Trust = SYSTEM_TRUST,
    lifetime: int | None = None,
    family: Family | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - a limit of its own, with an error of its own
) -> AsyncIterator[TcpAllocation]:
    """A TCP allocation at a TURN URI's server; leaving the context deletes it (RFC 6062).

    The server is reached by ``turn:`` with ``?transport=tcp``, or by ``turns:``; the rest is as for
    :func:`natkit.aio.turn.allocate`, and so is what it raises.  A server without TCP allocations
    says UnsupportedTransport.  Connections that are open end with the allocation.
    """

    async def open_at(server: Target) -> TcpAllocation:
        machine = Machine(
            server.address,
            server.transport,
            username=username,
            password=password,
            random=os.urandom,
            lifetime=lifetime,
            family=family,
        )
        allocation = TcpAllocation(machine, server, trust)
        try:
            await allocation.open()
        except BaseException:
            await allocation.close()
            raise
        return allocation

    try:
        async with asyncio.timeout(timeout):
            found = await turn_targets(uri, locator or SystemLocator())
            targets = [each for each in found if each.transport in (Transport.TCP, Transport.TLS)]
            if found and not targets:
                raise MisuseError(
                    f"'{uri}' leads to a server by datagrams; TCP allocations need a connection: "
                    "turn: with ?transport=tcp, or turns:"
                )
            allocation = await allocate_somewhere(open_at, targets)
    except TimeoutError as error:
        if isinstance(error, TransactionTimeout):
            raise
        raise TransactionTimeout(f"no answer from {uri} within {timeout:g} s") from None
    try:
        yield allocation
    finally:
        await allocation.close()
