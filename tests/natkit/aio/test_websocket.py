"""WebSockets under the driver: our own two ends, and websockets' own client and server."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path as FilePath

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.aio.tls import TlsClient, TlsConnections, client_context, server_context
from natkit.aio.websocket import (
    LARGEST_EARLY,
    LARGEST_MESSAGE,
    LARGEST_PING,
    Chunks,
    WebSocketConnections,
)
from natkit.errors import MisuseError, UnreachableError, UpgradeRefused
from natkit.keepalive import Alive, FlowKeeper, KeepAliveEvent, SendPing, Technique
from natkit.machine import ClosePath, Path, Transmit, Transport
from tests.certificates import Authority
from tests.natkit.aio.machines import Ended, Event, Heard, Inbox, Result, Scripted

SIP = Subprotocol("sip")
TEXT = "grüß Gott\r\n".encode()


class End:
    """A machine on WebSockets of its own."""

    def __init__(self, machine: Scripted, streams: StreamConnections | None = None) -> None:
        self.machine = machine
        self.inbox = Inbox()
        self.below = StreamConnections(Chunks) if streams is None else streams
        self.sockets = WebSocketConnections(self.below, host="ws.example.org")
        self.driver: Driver[Event, Result] = Driver(machine, self.inbox, streams=self.sockets)

    async def listen(self) -> Address:
        sock = bind_tcp(Address("127.0.0.1", 0))
        await self.sockets.listen(sock)
        return Address(*sock.getsockname()[:2])

    async def connect(self, remote: Address, transport: Transport = Transport.WS) -> Path:
        path = await self.sockets.connect(transport, None, remote)
        self.sockets.start(path)
        return path


@contextlib.asynccontextmanager
async def end(
    machine: Scripted | None = None, streams: StreamConnections | None = None
) -> AsyncIterator[End]:
    made = End(machine or Scripted(), streams)
    try:
        yield made
    finally:
        await made.driver.aclose()


@pytest.mark.parametrize("data", [TEXT, b"\xff\x00binary", b"x" * LARGEST_MESSAGE, b""])
async def test_two_machines_talk_over_a_websocket(data: bytes) -> None:
    async with end(Scripted(reply=bytes)) as server, end() as client:
        path = await client.connect(await server.listen())
        client.driver.run(client.machine.send(Transmit(data, path)))
        there = Path(Transport.WS, path.remote, path.local)
        assert await client.inbox.wait(1) == [Heard(data, path)]
        assert server.inbox.events == [Heard(data, there)]
        client.driver.run(client.machine.emit(ClosePath(path)))
        assert (await client.inbox.wait(2))[1] == Ended(path)
        assert (await server.inbox.wait(2))[1] == Ended(there)


async def test_two_machines_talk_over_a_secure_websocket(tmp_path: FilePath) -> None:
    root = Authority(tmp_path)
    certificate = root.issue("ws.example.org")
    context = client_context(trust=root.file, check_hostname=True)
    secure = TlsConnections(Chunks, client=TlsClient("ws.example.org", context))
    accepting = TlsConnections(Chunks, server=server_context(certificate.files))
    async with end(Scripted(reply=bytes.upper), accepting) as server, end(None, secure) as client:
        path = await client.connect(await server.listen(), Transport.WSS)
        assert path.transport is Transport.WSS
        client.driver.run(client.machine.send(Transmit(b"hello", path)))
        assert await client.inbox.wait(1) == [Heard(b"HELLO", path)]


async def test_a_foreign_client_is_served() -> None:
    async with end(Scripted(reply=bytes.upper)) as server:
        host, port = await server.listen()
        async with connect(f"ws://{host}:{port}/any", subprotocols=[SIP]) as client:
            assert client.subprotocol == "sip"
            # Fragments are one message, and pings are answered in between.
            await client.send(["he", "l", "lo"])
            assert await client.recv() == "HELLO"
            await (await client.ping())
            await client.send(b"\xff")
            assert await client.recv() == b"\xff"
        assert isinstance((await server.inbox.wait(3))[2], Ended)


async def test_a_client_that_does_not_offer_sip_is_refused() -> None:
    async with end() as server:
        host, port = await server.listen()
        for offered in (None, [Subprotocol("chat")]):
            with pytest.raises(InvalidStatus):
                async with connect(f"ws://{host}:{port}/", subprotocols=offered):
                    pass
        assert not [event for event in server.inbox.events if isinstance(event, Heard)]


async def test_a_message_beyond_the_limit_ends_the_connection() -> None:
    async with end(Scripted(reply=bytes.upper)) as server:
        host, port = await server.listen()
        async with connect(f"ws://{host}:{port}/", subprotocols=[SIP]) as client:
            await client.send(["x" * 1000] * 66)
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
        assert [type(event) for event in await server.inbox.wait(1)] == [Ended]


@contextlib.asynccontextmanager
async def foreign_server(
    subprotocols: list[Subprotocol] | None,
) -> AsyncIterator[tuple[Address, asyncio.Queue[str | bytes]]]:
    """Greets, then sends back what it is sent."""
    heard: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def on_connection(connection: ServerConnection) -> None:
        await connection.send("early")
        async for message in connection:
            heard.put_nowait(message)
            await connection.send(message)

    async with serve(on_connection, "127.0.0.1", 0, subprotocols=subprotocols) as server:
        yield Address(*next(iter(server.sockets)).getsockname()[:2]), heard


async def test_a_foreign_server_is_spoken_to_in_text() -> None:
    async with foreign_server([SIP]) as (remote, heard), end() as client:
        path = await client.connect(remote)
        client.driver.run(client.machine.send(Transmit(TEXT, path)))
        events = await client.inbox.wait(2)
        assert events == [Heard(b"early", path), Heard(TEXT, path)]
        assert heard.get_nowait() == TEXT.decode()


async def test_what_comes_before_start_waits_for_it() -> None:
    async with foreign_server([SIP]) as (remote, _), end() as client:
        path = await client.sockets.connect(Transport.WS, None, remote)
        client.sockets.send(Transmit(b"later", path))
        while len(client.sockets._sockets[path].early) < 2:  # noqa: ASYNC110 - tells nobody
            await asyncio.sleep(0)
        assert client.inbox.events == []
        client.sockets.start(path)
        assert client.inbox.events == [Heard(b"early", path), Heard(b"later", path)]


async def test_a_server_that_floods_before_start_is_cut_off() -> None:
    async def flood(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(LARGEST_EARLY + 10):
                await connection.send("x")
            await connection.wait_closed()

    async with serve(flood, "127.0.0.1", 0, subprotocols=[SIP]) as server, end() as client:
        remote = Address(*next(iter(server.sockets)).getsockname()[:2])
        path = await client.sockets.connect(Transport.WS, None, remote)
        while not client.sockets._sockets[path].lost:  # noqa: ASYNC110 - tells nobody
            await asyncio.sleep(0)
        assert len(client.sockets._sockets[path].early) == LARGEST_EARLY


async def test_the_end_before_start_is_told_after_it() -> None:
    async with end() as client:
        async with foreign_server([SIP]) as (remote, _):
            path = await client.sockets.connect(Transport.WS, None, remote)
        while not client.sockets._sockets[path].lost:  # noqa: ASYNC110 - tells nobody
            await asyncio.sleep(0)
        client.sockets.start(path)
        assert client.inbox.events == [Heard(b"early", path), Ended(path)]


async def test_a_server_that_does_not_speak_sip_is_refused() -> None:
    async with foreign_server(None) as (remote, _), end() as client:
        with pytest.raises(UpgradeRefused, match="does not agree to speak 'sip'"):
            await client.connect(remote)


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answered 404 Not Found", 404),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "it answered 200 OK", 200),
        (b"SIP/2.0 400 Bad Request\r\n\r\n", "did not receive a valid HTTP response", None),
        (bytes(range(256)) * 100, "did not receive a valid HTTP response", None),
        (b"", "ended the connection|valid HTTP response", None),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "header", None),
    ],
    ids=["404", "200", "sip", "garbage", "closing", "half"],
)
async def test_what_is_no_websocket_is_refused(
    answer: bytes, words: str, status: int | None
) -> None:
    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    remote = Address(*server.sockets[0].getsockname()[:2])
    async with end() as client:
        with pytest.raises(UpgradeRefused, match=words) as caught:
            await client.connect(remote)
        assert caught.value.status == status
        server.close()
        await server.wait_closed()
        with pytest.raises(UnreachableError, match="refused"):
            await client.connect(remote)


async def test_a_silent_server_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("natkit.aio.websocket.HANDSHAKE_TIMEOUT", 0.2)
    sock = bind_tcp(Address("127.0.0.1", 0))
    sock.listen()
    async with end() as client:
        with pytest.raises(UpgradeRefused, match="no answer in time"):
            await client.connect(Address(*sock.getsockname()[:2]))
    sock.close()


async def test_a_peer_that_sends_no_websocket_is_cut_off() -> None:
    async with end() as server:
        reader, writer = await asyncio.open_connection(*await server.listen())
        writer.write(b"OPTIONS sip:a SIP/2.0\r\n\r\n")
        assert b"101" not in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await writer.wait_closed()
        assert not [event for event in server.inbox.events if isinstance(event, Heard)]


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_flow_is_kept_by_pings_that_a_driver_sends(foreign: bool) -> None:
    keeper = FlowKeeper(random=os.urandom)
    alive: asyncio.Queue[KeepAliveEvent] = asyncio.Queue()

    def on_event(event: KeepAliveEvent) -> None:
        if isinstance(event, SendPing):
            sockets.ping(event.path, event.payload)
        else:
            alive.put_nowait(event)

    def on_pong(path: Path, payload: bytes) -> None:
        driver.run(lambda now: keeper.pong(path, payload, now))

    sockets = WebSocketConnections(StreamConnections(Chunks), on_pong=on_pong)
    driver: Driver[KeepAliveEvent, object] = Driver(keeper, on_event, streams=sockets)
    async with foreign_server([SIP]) as (theirs, _), end() as ours:
        remote = theirs if foreign else await ours.listen()
        path = await sockets.connect(Transport.WS, None, remote)
        sockets.start(path)
        driver.run(lambda now: keeper.keep(path, Technique.WEBSOCKET, 60.0, now, at_once=True))
        event = await alive.get()
        assert isinstance(event, Alive)
        assert (event.path, event.mapped) == (path, None)
        await driver.aclose()


async def test_pings_on_no_connection_are_dropped_and_long_ones_refused() -> None:
    async with end() as client:
        nowhere = Path(Transport.WS, Address("127.0.0.1", 9), Address("127.0.0.1", 10))
        client.sockets.ping(nowhere, bytes(LARGEST_PING))
        with pytest.raises(MisuseError, match="125"):
            client.sockets.ping(nowhere, bytes(LARGEST_PING + 1))


async def test_only_its_own_transport_is_spoken() -> None:
    async with end() as client:
        with pytest.raises(UpgradeRefused, match="WSS"):
            await client.connect(Address("127.0.0.1", 9), Transport.WSS)
