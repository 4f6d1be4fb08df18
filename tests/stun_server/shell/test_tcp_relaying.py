"""TCP allocations on real sockets: our client, our server, plain TCP peers (RFC 6062)."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path as FilePath
from typing import NamedTuple, Protocol

import pytest

from natkit.address import Address
from natkit.aio.secure import Trust
from natkit.aio.splice import BUFFER
from natkit.aio.turn_tcp import PeerStream, TcpAllocation, allocate_tcp
from natkit.errors import (
    ConnectionAlreadyExists,
    ConnectionFailed,
    Forbidden,
    MisuseError,
    UnreachableError,
    UnsupportedTransport,
)
from natkit.stun.attributes import ConnectionId, Nonce, Realm, Username, XorPeerAddress
from natkit.stun.credentials import long_term_key
from natkit.stun.framing import StunFraming
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.shell.running import RunningServer
from tests.certificates import Authority
from tests.stun_server.shell import test_secure
from tests.stun_server.shell.test_running import LIMIT, PASSWORD, USER, Running, running, until

KINDS = ("tcp", "tls")


class World(NamedTuple):
    """A server, a TCP allocation there, and a way to more of them."""

    server: RunningServer
    relay: TcpAllocation
    again: Callable[[], AbstractAsyncContextManager[TcpAllocation]]


class Relaying(Protocol):
    """Type of the ``relaying`` fixture."""

    def __call__(self) -> AbstractAsyncContextManager[World]: ...


@pytest.fixture(params=KINDS)
def relaying(request: pytest.FixtureRequest, tmp_path: FilePath) -> Relaying:
    """A server and a TCP allocation there, by a control connection of either kind."""

    @asynccontextmanager
    async def over_tcp() -> AsyncIterator[World]:
        async with running() as server, allocated(server.uri("tcp")) as relay:
            yield World(server.server, relay, lambda: allocated(server.uri("tcp")))

    @asynccontextmanager
    async def over_tls() -> AsyncIterator[World]:
        authority = Authority(tmp_path)
        async with (
            test_secure.running(authority) as server,
            allocated(server.uri("tls"), server.trust) as relay,
        ):
            again = partial(allocated, server.uri("tls"), server.trust)
            yield World(server.server, relay, again)

    return over_tcp if request.param == "tcp" else over_tls


def allocated(uri: str, trust: Trust | None = None) -> AbstractAsyncContextManager[TcpAllocation]:
    return allocate_tcp(uri, username=USER, password=PASSWORD, trust=trust or Trust())


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_peer(serve: Serve) -> AsyncIterator[Address]:
    """A peer that serves each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serving, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname())
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all back, and end when the other end does."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def forever(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Read nothing, send nothing."""
    await asyncio.get_running_loop().create_future()


async def read_all(stream: PeerStream) -> bytes:
    async with asyncio.timeout(LIMIT):
        return await stream.reader.read()


async def test_data_of_any_size_passes_both_ways_and_is_counted(relaying: Relaying) -> None:
    payload = bytes(range(256)) * 4096
    async with relaying() as (server, relay, _), tcp_peer(echo) as peer:
        stream = await relay.connect(peer)
        assert stream.peer == peer
        stream.writer.write(payload)
        async with asyncio.timeout(LIMIT):
            assert await stream.reader.readexactly(len(payload)) == payload
        totals = server.totals()
        assert (totals.bytes_to_peers, totals.bytes_to_clients) == (len(payload), len(payload))
        (session,) = await server.administration.sessions(10)
        assert session.traffic.bytes_to_peers == len(payload)
        await stream.aclose()
        await until(lambda: not len(server.tcp))
        # Its peer can be connected again.
        again = await relay.connect(peer)
        await again.aclose()
    assert server.totals().bytes_to_peers == len(payload)
    assert not len(server.admission)


async def test_a_peer_sees_the_relayed_address(relaying: Relaying) -> None:
    seen: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result(writer.get_extra_info("peername"))

    async with relaying() as (_, relay, _), tcp_peer(tell) as peer:
        stream = await relay.connect(peer)
        async with asyncio.timeout(LIMIT):
            assert await seen == tuple(relay.relayed_address)
        await stream.aclose()


async def test_a_permitted_peer_connects_to_the_relayed_address(relaying: Relaying) -> None:
    async with relaying() as (_, relay, _):
        await relay.permit(Address("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection(*relay.relayed_address)
        # Sent before anybody reads it, and even before the connection is bound.
        writer.write(b"early")
        async with asyncio.timeout(LIMIT):
            stream = await relay.accept()
            assert stream.peer == Address(*writer.get_extra_info("sockname"))
            assert await stream.reader.readexactly(5) == b"early"
            stream.writer.write(b"late")
            assert await reader.readexactly(4) == b"late"
        writer.close()
        assert await read_all(stream) == b""
        await stream.aclose()


async def test_a_peer_without_permission_is_reset_and_nobody_hears_of_it(
    relaying: Relaying,
) -> None:
    async with relaying() as (server, relay, _):
        for _ in range(50):
            async with asyncio.timeout(LIMIT):
                # The reset may come as early as the connection.
                with pytest.raises(ConnectionResetError):
                    await read_byte(relay.relayed_address)
        assert not len(server.tcp)
        assert server.counts()["peer connections refused"] == 50
        await relay.permit(Address("127.0.0.1", 0))
        _, writer = await asyncio.open_connection(*relay.relayed_address)
        stream = await relay.accept()
        writer.close()
        await stream.aclose()


async def read_byte(address: Address) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        await reader.readexactly(1)
    finally:
        writer.close()


async def test_two_clients_reach_each_other(relaying: Relaying) -> None:
    async with relaying() as (_, one, again), again() as other:
        await other.permit(one.relayed_address)
        stream = await one.connect(other.relayed_address)
        async with asyncio.timeout(LIMIT):
            back = await other.accept()
            assert back.peer == one.relayed_address
            stream.writer.write(b"hello")
            assert await back.reader.readexactly(5) == b"hello"
        await stream.aclose()
        assert await read_all(back) == b""
        await back.aclose()


async def test_the_end_of_one_direction_leaves_the_other_open() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())

    async with (
        running() as server,
        allocated(server.uri("tcp")) as relay,
        tcp_peer(answer_at_the_end) as peer,
    ):
        stream = await relay.connect(peer)
        stream.writer.write(b"all")
        stream.writer.write_eof()
        assert await read_all(stream) == b"got all"
        await stream.aclose()
        await until(lambda: not len(server.server.tcp))


async def test_the_end_of_the_peer_arrives_after_all_that_it_sent(relaying: Relaying) -> None:
    payload = bytes(1_000_000)

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(payload)
        await writer.drain()

    async with relaying() as (server, relay, _), tcp_peer(send) as peer:
        stream = await relay.connect(peer)
        assert len(await read_all(stream)) == len(payload)
        await stream.aclose()
        await until(lambda: not len(server.tcp))


async def test_a_reset_is_passed_on(relaying: Relaying) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with relaying() as (server, relay, _), tcp_peer(reset) as peer:
        stream = await relay.connect(peer)
        stream.writer.write(b"x")
        async with asyncio.timeout(LIMIT):
            with pytest.raises(ConnectionResetError):
                await stream.reader.readexactly(1)
        await stream.aclose()
        await until(lambda: not len(server.tcp))


async def test_a_client_that_goes_away_ends_its_peers_connection(relaying: Relaying) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except OSError:
            pass
        ended.set_result(None)

    async with relaying() as (server, relay, _), tcp_peer(wait) as peer:
        stream = await relay.connect(peer)
        stream.writer.transport.abort()
        async with asyncio.timeout(LIMIT):
            await ended
        await until(lambda: not len(server.tcp))


async def test_the_end_of_the_allocation_ends_its_connections(relaying: Relaying) -> None:
    async with relaying() as (server, relay, _), tcp_peer(forever) as peer:
        stream = await relay.connect(peer)
        (session,) = await server.administration.sessions(10)
        assert await server.administration.disconnect(session.id)
        assert await read_all(stream) == b""
        await stream.aclose()
        await until(lambda: not len(server.tcp))


async def test_who_reads_slowly_holds_up_who_sends(relaying: Relaying) -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(high=0)
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async with relaying() as (server, relay, _), tcp_peer(pour) as peer:
        stream = await relay.connect(peer)
        # Nobody reads: the server keeps what it may, and no more however long the peer sends.
        await until(lambda: max(server.tcp.waiting()) >= BUFFER)
        for _ in range(100):
            await asyncio.sleep(0)
            assert max(server.tcp.waiting()) <= BUFFER + 512 * 1024
        # It goes on as soon as somebody does.
        async with asyncio.timeout(LIMIT):
            await stream.reader.readexactly(sent + 4 * 1024 * 1024)
        stream.writer.transport.abort()
        await until(lambda: not len(server.tcp))


async def test_errors_of_connect_are_typed(relaying: Relaying) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = Address(*closed.getsockname())
        async with relaying() as (_, relay, _), tcp_peer(forever) as peer:
            with pytest.raises(ConnectionFailed):
                await relay.connect(nobody)
            with pytest.raises(Forbidden):
                await relay.connect(Address("10.0.0.1", 80))
            with pytest.raises(Forbidden):
                await relay.connect(relay.server.address)
            stream = await relay.connect(peer)
            with pytest.raises(ConnectionAlreadyExists):
                await relay.connect(peer)
            with pytest.raises(MisuseError):
                await relay.connect(Address("::1", 80))
            with pytest.raises(MisuseError):
                await relay.send(b"x", peer)
            with pytest.raises(MisuseError):
                await relay.receive()
            with pytest.raises(MisuseError):
                await relay.bind_channel(peer)
            await stream.aclose()


async def test_a_server_that_does_not_relay_tcp_says_so() -> None:
    async with running(policy={"tcp_relaying": False}) as server:
        with pytest.raises(UnsupportedTransport):
            async with allocated(server.uri("tcp")):
                pass


async def test_a_tcp_allocation_needs_a_connection_to_its_server() -> None:
    with pytest.raises(MisuseError, match="transport=tcp"):
        async with allocated("turn:127.0.0.1"):
            pass


async def test_a_connection_that_passes_nothing_is_cut() -> None:
    async with (
        running(peer_connection_idle=1) as server,
        allocated(server.uri("tcp")) as relay,
        tcp_peer(forever) as peer,
    ):
        stream = await relay.connect(peer)
        async with asyncio.timeout(LIMIT):
            try:
                assert await stream.reader.read() == b""
            except ConnectionResetError:
                pass
        await until(lambda: not len(server.server.tcp))
        # The allocation goes on.
        await (await relay.connect(peer)).aclose()


# What a client of another make may do.


class RawClient:
    """One connection of a client that is spoken to by messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.framing = StunFraming(hold_after=())
        self.attributes: tuple[Username | Realm | Nonce, ...] = ()
        self.realm = ""

    def form(self, method: Method, *attributes: ConnectionId | XorPeerAddress) -> bytes:
        request = Message.request(method, b"twelve bytes", *attributes, *self.attributes)
        if not self.attributes:
            return request.encode()
        return request.encode(integrity=IntegrityKey(long_term_key(USER, self.realm, PASSWORD)))

    async def answer(self) -> Message:
        """The next message, and not a byte more."""
        header = await self.reader.readexactly(20)
        length = int.from_bytes(header[2:4], "big")
        return Message.parse(header + await self.reader.readexactly(length))

    async def authenticate(self) -> None:
        self.writer.write(self.form(Method.CONNECTION_BIND))
        challenge = await self.answer()
        realm, nonce = challenge.get(Realm), challenge.get(Nonce)
        assert realm is not None
        assert nonce is not None
        self.realm = realm.value
        self.attributes = (Username(USER), realm, nonce)


@asynccontextmanager
async def raw_client(server: Running) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection(*server.address)
    client = RawClient(reader, writer)
    async with asyncio.timeout(LIMIT):
        await client.authenticate()
        yield client
    writer.close()


async def connection_at(server: Running, relay: TcpAllocation) -> tuple[int, socket.socket]:
    """A connection that nobody has bound yet: its id, and the peer's end."""
    await relay.permit(Address("127.0.0.1", 0))
    sock = socket.create_connection(relay.relayed_address)
    await until(lambda: server.lines("peer connected"))
    (line,) = server.lines("peer connected")
    return int(str(line["connection"]), 16), sock


async def test_data_in_the_segment_of_the_request_is_not_lost() -> None:
    async with running() as server, allocated(server.uri("tcp")) as relay:
        number, sock = await connection_at(server, relay)
        async with raw_client(server) as client:
            # What follows could be taken for the beginning of a message, and is none.
            request = client.form(Method.CONNECTION_BIND, ConnectionId(number))
            client.writer.write(request + b"\0\1x")
            assert (await client.answer()).message_class.name == "SUCCESS_RESPONSE"
            sock.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"\0\1x"
            sock.close()


async def test_a_refused_bind_leaves_the_connection_for_other_requests() -> None:
    async with running() as server, allocated(server.uri("tcp")) as relay:
        number, sock = await connection_at(server, relay)
        async with raw_client(server) as client:
            wrong = client.form(Method.CONNECTION_BIND, ConnectionId(number ^ 1))
            right = client.form(Method.CONNECTION_BIND, ConnectionId(number))
            client.writer.write(wrong + right)
            assert (await client.answer()).message_class.name == "ERROR_RESPONSE"
            assert (await client.answer()).message_class.name == "SUCCESS_RESPONSE"
            sock.close()


async def test_a_client_cannot_bind_what_is_gone() -> None:
    async with running() as server, allocated(server.uri("tcp")) as relay:
        number, sock = await connection_at(server, relay)
        await relay.close()
        sock.close()
        async with raw_client(server) as client:
            client.writer.write(client.form(Method.CONNECTION_BIND, ConnectionId(number)))
            assert (await client.answer()).message_class.name == "ERROR_RESPONSE"
        with pytest.raises((MisuseError, UnreachableError)):
            await relay.accept()
