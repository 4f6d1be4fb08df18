"""Connections under the driver, on the real loopback."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from natkit.address import Address
from natkit.aio import tcp
from natkit.aio.driver import Driver
from natkit.aio.tcp import DROP_ABOVE, LARGEST_BACKLOG, StreamConnections, bind_tcp
from natkit.errors import UnreachableError
from natkit.machine import ClosePath, Connect, Failure, Path, Transmit, Transport
from tests.natkit.aio.machines import (
    Answered,
    Ended,
    Event,
    Heard,
    Inbox,
    LineFraming,
    Result,
    Scripted,
)

HOSTS = ("127.0.0.1", "::1")


class End:
    """A machine on connections of its own."""

    def __init__(self, machine: Scripted, connect_timeout: float = 20.0) -> None:
        self.machine = machine
        self.inbox = Inbox()
        self.streams = StreamConnections(LineFraming, connect_timeout=connect_timeout)
        self.driver: Driver[Event, Result] = Driver(machine, self.inbox, streams=self.streams)

    async def listen(
        self, host: str = "127.0.0.1", accept: Callable[[Path], bool] = lambda _: True
    ) -> Address:
        sock = bind_tcp(Address(host, 0))
        address = Address(*sock.getsockname()[:2])
        await self.streams.listen(sock, accept)
        return address

    async def connect(self, remote: Address) -> Path:
        """By a Request of the machine."""
        count = len(self.inbox.events)
        self.driver.run(self.machine.emit(Connect(9, Transport.TCP, None, remote)))
        events = await self.inbox.wait(count + 1)
        answered = events[count]
        assert isinstance(answered, Answered)
        assert isinstance(answered.result, Path)
        return answered.result


@pytest.fixture
async def server() -> AsyncIterator[End]:
    """A machine that sends every line back in capitals."""
    made = End(Scripted(reply=bytes.upper))
    yield made
    await made.driver.aclose()


@pytest.fixture
async def client() -> AsyncIterator[End]:
    """A machine that only tells what it hears."""
    made = End(Scripted())
    yield made
    await made.driver.aclose()


async def until_end(reader: asyncio.StreamReader) -> bytes:
    """All that comes before the connection ends, in whichever way."""
    received = b""
    try:
        while data := await asyncio.wait_for(reader.read(100), 20):
            received += data
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize("host", HOSTS)
async def test_two_machines_talk_over_a_connection(server: End, client: End, host: str) -> None:
    path = await client.connect(await server.listen(host))
    client.driver.run(client.machine.send(Transmit(b"hel", path), Transmit(b"lo\n", path)))
    events = await client.inbox.wait(2)
    assert events[1] == Heard(b"HELLO\n", path)
    assert server.inbox.events == [Heard(b"hello\n", Path(Transport.TCP, path.remote, path.local))]


async def test_a_stream_is_cut_into_messages_however_it_arrives(server: End) -> None:
    reader, writer = await asyncio.open_connection(*await server.listen())
    for piece in (b"o", b"ne\ntwo\nthr", b"ee\n"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    assert [await reader.readline() for _ in range(3)] == [b"ONE\n", b"TWO\n", b"THREE\n"]
    assert [each.data for each in server.inbox.events if isinstance(each, Heard)] == [
        b"one\n",
        b"two\n",
        b"three\n",
    ]
    writer.close()
    await writer.wait_closed()


async def test_the_peers_end_is_told_once(server: End) -> None:
    _, writer = await asyncio.open_connection(*await server.listen())
    writer.write(b"x\n")
    await server.inbox.wait(1)
    writer.close()
    await writer.wait_closed()
    events = await server.inbox.wait(2)
    await server.driver.aclose()
    assert [type(each) for each in events] == [Heard, Ended]
    assert len(server.streams) == 0


async def test_our_own_end_is_told_once_too_after_what_was_sent(server: End, client: End) -> None:
    path = await client.connect(await server.listen())

    def farewell(_: float) -> None:
        client.machine.outgoing.append(Transmit(b"bye\n", path))
        client.machine.events.append(ClosePath(path))

    client.driver.run(farewell)
    events = await server.inbox.wait(2)
    assert [type(each) for each in events] == [Heard, Ended]
    assert (await client.inbox.wait(2))[1:] == [Ended(path)]
    client.driver.run(client.machine.emit(ClosePath(path)))
    client.driver.run(client.machine.send(Transmit(b"late\n", path)))
    assert len(client.inbox.events) == 2


async def test_a_reset_is_an_end_like_any_other(server: End) -> None:
    sock = socket.create_connection(await server.listen())
    sock.sendall(b"x\n")
    await server.inbox.wait(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert isinstance((await server.inbox.wait(2))[1], Ended)


async def test_an_unframeable_stream_is_cut_and_counted(server: End) -> None:
    reader, writer = await asyncio.open_connection(*await server.listen())
    writer.write(b"one\n!two\n")
    assert await until_end(reader) == b""
    (ended,) = await server.inbox.wait(1)
    assert isinstance(ended, Ended)
    assert server.streams.unframeable == 1
    writer.close()


async def test_messages_after_one_that_closes_the_path_are_not_delivered() -> None:
    inbox = Inbox()
    machine = Scripted()

    def on_event(event: Event) -> None:
        inbox(event)
        if isinstance(event, Heard):
            driver.run(machine.emit(ClosePath(event.path)))

    streams = StreamConnections(LineFraming)
    driver: Driver[Event, Result] = Driver(machine, on_event, streams=streams)
    sock = bind_tcp(Address("127.0.0.1", 0))
    await streams.listen(sock)
    _, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(b"one\ntwo\nthree\n")
    events = await inbox.wait(2)
    assert [type(each) for each in events] == [Heard, Ended]
    writer.close()
    await driver.aclose()


async def test_a_closed_port_is_a_failure_with_a_line_for_a_person(client: End) -> None:
    with bind_tcp(Address("127.0.0.1", 0)) as closed:
        nobody = Address(*closed.getsockname())
        client.driver.run(client.machine.emit(Connect(9, Transport.TCP, None, nobody)))
        assert await client.inbox.wait() == [
            Answered(9, Failure(f"cannot connect to {nobody} over TCP: connection refused"))
        ]


async def test_a_server_that_never_accepts_is_a_failure_in_time() -> None:
    impatient = End(Scripted(), connect_timeout=0.05)
    with bind_tcp(Address("127.0.0.1", 0)) as sock:
        # Linux completes one connection more than the backlog; the next ones wait for ever.
        sock.listen(0)
        full = Address(*sock.getsockname())
        first = socket.create_connection(full)
        for number in (1, 2):
            impatient.driver.run(impatient.machine.emit(Connect(number, Transport.TCP, None, full)))
        results = [
            each.result for each in await impatient.inbox.wait(2) if isinstance(each, Answered)
        ]
        assert Failure(f"cannot connect to {full} over TCP: no answer in time") in results
        first.close()
    await impatient.driver.aclose()


async def test_a_transport_that_is_not_spoken_is_a_failure(client: End) -> None:
    remote = Address("127.0.0.1", 5349)
    client.driver.run(client.machine.emit(Connect(9, Transport.TLS, None, remote)))
    assert await client.inbox.wait() == [
        Answered(9, Failure(f"cannot connect to {remote} over TLS: this program speaks TCP only"))
    ]


async def test_a_local_address_is_kept_to(server: End, client: End) -> None:
    remote = await server.listen()
    path = await client.streams.connect(Transport.TCP, Address("127.0.0.2", 0), remote)
    assert path.local.host == "127.0.0.2"
    with pytest.raises(UnreachableError, match="cannot connect to"):
        await client.streams.connect(Transport.TCP, Address("192.0.2.1", 0), remote)


async def test_closing_while_connecting_leaves_nothing_behind() -> None:
    leaving = End(Scripted())
    with bind_tcp(Address("127.0.0.1", 0)) as sock:
        sock.listen()
        remote = Address(*sock.getsockname())
        leaving.driver.run(leaving.machine.emit(Connect(9, Transport.TCP, None, remote)))
        await asyncio.sleep(0)
        await leaving.driver.aclose()
    assert leaving.inbox.events == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_connection_made_before_the_driver_waits_for_it(server: End) -> None:
    remote = await server.listen()
    streams = StreamConnections(LineFraming)
    path = await streams.connect(Transport.TCP, None, remote)
    streams.send(Transmit(b"early\n", path))
    await server.inbox.wait(1)
    inbox = Inbox()
    driver: Driver[Event, Result] = Driver(Scripted(), inbox, streams=streams)
    assert await inbox.wait() == [Heard(b"EARLY\n", path)]
    await driver.aclose()


async def test_a_connection_that_is_not_wanted_is_reset_and_never_told(server: End) -> None:
    asked: list[Path] = []

    def decline(path: Path) -> bool:
        asked.append(path)
        return False

    reader, writer = await asyncio.open_connection(*await server.listen(accept=decline))
    assert await until_end(reader) == b""
    assert len(asked) == 1
    assert len(server.streams) == 0
    assert server.machine.inputs == 0
    writer.close()


async def slow_reader(server: End) -> tuple[socket.socket, Path]:
    """A peer that reads nothing, through small buffers, and its path at the server."""
    loop = asyncio.get_running_loop()
    address = await server.listen()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    await loop.sock_sendall(sock, b"hello\n")
    (heard,) = await server.inbox.wait(1)
    assert isinstance(heard, Heard)
    return sock, heard.path


async def test_a_slow_reader_loses_what_may_be_lost_and_stays_connected(server: End) -> None:
    sock, path = await slow_reader(server)
    message = bytes(999) + b"\n"
    offered = [server.streams.offer(path, message) for _ in range(20_000)]
    assert not all(offered)
    assert offered.index(False) * len(message) >= DROP_ABOVE
    accepted = sum(offered)
    loop = asyncio.get_running_loop()
    received = b""
    while len(received) < accepted * len(message) + len(b"HELLO\n"):
        received += await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), 20)
    # Whole messages, in order: nothing was cut in two.
    assert received == b"HELLO\n" + message * accepted
    assert server.streams.offer(path, message)
    sock.close()


async def test_a_reader_that_never_reads_its_answers_is_cut(server: End) -> None:
    sock, path = await slow_reader(server)
    message = bytes(9_999) + b"\n"
    for _ in range(1 + 20 * LARGEST_BACKLOG // len(message)):
        server.driver.run(server.machine.send(Transmit(message, path)))
    events = await server.inbox.wait(2)
    assert events[1:] == [Ended(path)]
    sock.close()


async def test_a_peer_that_does_not_read_is_not_read_from(server: End) -> None:
    sock, _ = await slow_reader(server)
    loop = asyncio.get_running_loop()
    line = b"x" * 9_999 + b"\n"

    async def flood() -> None:
        while True:
            await loop.sock_sendall(sock, line)

    # It stops taking lines once its answers pile up, and takes them again when they are read.
    flooding = asyncio.ensure_future(flood())
    heard = 0
    while len(server.inbox.events) > heard:
        heard = len(server.inbox.events)
        await asyncio.wait({flooding}, timeout=0.3)
    assert not flooding.done()
    flooding.cancel()
    assert len(server.streams) == 1
    while len(server.inbox.events) == heard:
        await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), 20)
    sock.close()


async def test_a_close_that_its_peer_does_not_let_end_is_forced(
    server: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "LINGER", 0.05)
    sock, path = await slow_reader(server)
    while server.streams.offer(path, bytes(10_000)):
        pass
    server.driver.run(server.machine.emit(ClosePath(path)))
    assert (await server.inbox.wait(2))[1:] == [Ended(path)]
    sock.close()


async def test_closing_the_driver_does_not_wait_for_a_peer_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "LINGER", 0.05)
    stuck = End(Scripted(reply=bytes.upper))
    sock, path = await slow_reader(stuck)
    while stuck.streams.offer(path, bytes(10_000)):
        pass
    await stuck.driver.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    sock.close()
    # And the port is free at once.
    bind_tcp(path.local).close()


async def test_the_time_of_the_last_whole_message_is_known(server: End) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    _, writer = await asyncio.open_connection(*await server.listen())
    writer.write(b"x\n")
    await server.inbox.wait(1)
    ((path, last),) = server.streams.last_messages().items()
    assert path.transport is Transport.TCP
    assert before <= last <= loop.time()
    writer.close()
