"""The wiring: machine, plane, connections and log together, in this process, on loopback."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.aio.stun import binding
from natkit.aio.turn import allocate
from natkit.aio.udp import bind_udp
from natkit.machine import Path
from natkit.net import icmp
from natkit.turn import Both
from natkit.turn.events import IcmpReceived
from stun_server.config import Config
from stun_server.service import Server
from stun_server.shell.running import RunningServer
from stun_server.shell.serving import start
from stun_server.shell.state import ephemeral_keys

USER = "ann"
PASSWORD = "secret"
TRANSPORTS = ("udp", "tcp")
LIMIT = 20.0


class Running:
    """A server and what it logged."""

    def __init__(self, server: RunningServer, log: Sequence[Mapping[str, object]]) -> None:
        self.server = server
        self._log = log

    @property
    def address(self) -> Address:
        return self.server.listeners[0].address

    def uri(self, transport: str) -> str:
        return f"turn:{self.address}?transport={transport}"

    def events(self) -> list[str]:
        return [str(line["event"]) for line in self._log]

    def lines(self, event: str) -> list[Mapping[str, object]]:
        return [line for line in self._log if line["event"] == event]


@asynccontextmanager
async def running(
    *listen: str, policy: Mapping[str, object] | None = None, **limits: int
) -> AsyncIterator[Running]:
    """A server on a free port of 127.0.0.1 that allows loopback peers."""
    config = Config.model_validate(
        {
            "listeners": {"listen": listen or ["127.0.0.1:0"]},
            "users": {"passwords": {USER: PASSWORD}},
            "policy": {"allow_peer": ["127.0.0.0/8", "::1/128"], **(policy or {})},
            "limits": limits,
        }
    )
    with capture_logs() as log:
        server = await start(config, ephemeral_keys(), structlog.get_logger())
        try:
            yield Running(server, log)
        finally:
            await server.aclose()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so, which no event tells of."""
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - counters have no event to wait for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def plain_peer(
    family: socket.AddressFamily = socket.AF_INET,
) -> AsyncIterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        yield peer


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_data_passes_both_ways_by_channels_and_by_indications(transport: str) -> None:
    loop = asyncio.get_running_loop()
    async with (
        running() as server,
        plain_peer() as peer,
        allocate(server.uri(transport), username=USER, password=PASSWORD) as relay,
    ):
        there = Address(*peer.getsockname())
        # From now on nothing reaches it but from there.
        peer.connect(relay.relayed_address)
        await relay.permit(there)
        for way in ("indication", "channel"):
            if way == "channel":
                await relay.bind_channel(there)
            await relay.send(way.encode(), there)
            async with asyncio.timeout(LIMIT):
                assert await loop.sock_recv(peer, 2000) == way.encode()
            peer.send(b"back")
            assert await relay.receive() == (b"back", there)
        totals = server.server.totals()
        assert (totals.packets_to_peers, totals.packets_to_clients) == (2, 2)
        assert {"allocation opened", "peer permitted", "channel bound"} <= set(server.events())


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_allocation_reaches_peers_of_both_families(transport: str) -> None:
    loop = asyncio.get_running_loop()
    async with (
        running("127.0.0.1:0", "[::1]:0") as server,
        plain_peer() as peer,
        plain_peer(socket.AF_INET6) as peer6,
        allocate(
            server.uri(transport), username=USER, password=PASSWORD, family=Both.FAMILIES
        ) as relay,
    ):
        assert relay.missing_family is None
        for sock, relayed in zip((peer, peer6), relay.relayed_addresses, strict=True):
            there = Address(*sock.getsockname()[:2])
            sock.connect(relayed)
            for way in (relay.permit, relay.bind_channel):
                await way(there)
                await relay.send(b"hello", there)
                async with asyncio.timeout(LIMIT):
                    assert await loop.sock_recv(sock, 2000) == b"hello"
                sock.send(b"back")
                assert await relay.receive() == (b"back", there)
        (opened,) = server.lines("allocation opened")
        assert [opened["relayed"], opened["second"]] == list(map(str, relay.relayed_addresses))
        assert server.server.counts()["dual allocations"] == 1


@pytest.mark.skipif(not icmp.CAN_REPORT, reason="Linux")
@pytest.mark.parametrize("on_channel", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_client_is_told_that_its_peer_is_not_there(
    transport: str, on_channel: bool
) -> None:
    async with (
        running() as server,
        plain_peer() as peer,
        allocate(server.uri(transport), username=USER, password=PASSWORD) as relay,
    ):
        gone = Address(*peer.getsockname())
        peer.close()
        await (relay.bind_channel if on_channel else relay.permit)(gone)
        await relay.send(b"hello", gone)
        async with asyncio.timeout(LIMIT):
            assert await relay.receive_icmp() == IcmpReceived(gone, 3, 3, 0)
        assert server.server.counts()["icmp errors"] == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_allocation_that_is_deleted_leaves_nothing_behind(transport: str) -> None:
    async with running() as server:
        async with allocate(server.uri(transport), username=USER, password=PASSWORD) as relay:
            relayed = relay.relayed_address
        await until(lambda: server.lines("allocation closed"))
        (closed,) = server.lines("allocation closed")
        assert (closed["reason"], closed["user"]) == ("deleted", USER)
        bind_udp(relayed).close()
        await until(lambda: not len(server.server.admission))


async def test_a_lost_connection_closes_its_allocation() -> None:
    async with running() as server:
        async with allocate(server.uri("tcp"), username=USER, password=PASSWORD) as relay:
            relayed = relay.relayed_address
            for connection in client_connections(relay):
                connection.abort()
            await until(lambda: server.lines("allocation closed"))
        assert [line["reason"] for line in server.lines("allocation closed")] == ["disconnected"]
        bind_udp(relayed).close()


async def test_stopping_frees_every_address_and_leaves_no_task() -> None:
    async with running() as server:
        address = server.address
        await binding(str(address))
        await binding(str(address), tcp=True)
    bind_udp(address).close()
    with socket.socket() as again:
        again.bind(address)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert server.events()[-1] == "stopped"


async def test_garbage_is_counted_and_the_server_goes_on() -> None:
    async with running() as server, plain_peer() as peer:
        for size in (0, 1, 19, 20, 300):
            # The first two bits say STUN, the magic cookie is there, the rest is noise.
            noise = (b"\x00\x03\x00\x09\x21\x12\xa4\x42" + os.urandom(size))[:size]
            peer.sendto(noise, server.address)
        await until(lambda: server.server.counts()["malformed messages"] >= 4)
        assert (await binding(str(server.address))).host == "127.0.0.1"
        assert "internal error" not in server.events()


async def test_an_internal_error_is_logged_and_counted_and_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receive = Server.receive

    def fail_once(self: Server, data: bytes, path: Path, now: float) -> None:
        monkeypatch.setattr(Server, "receive", receive)
        raise ZeroDivisionError("a bug")

    async with running() as server, plain_peer() as peer:
        monkeypatch.setattr(Server, "receive", fail_once)
        peer.sendto(b"x", server.address)
        await until(lambda: server.lines("internal error"))
        assert server.server.counts()["internal errors"] == 1
        async with allocate(server.uri("udp"), username=USER, password=PASSWORD):
            pass


async def test_one_source_may_not_take_all_connections() -> None:
    async with running(connections_per_source=2) as server:
        held = [await asyncio.open_connection(*server.address) for _ in range(2)]
        await until(lambda: len(server.server.admission) == 2)
        reader, writer = await asyncio.open_connection(*server.address)
        assert await ended(reader)
        assert server.server.counts()["declined connections"] == 1
        writer.close()
        # One that ends makes room.
        held.pop()[1].close()
        await until(lambda: len(server.server.admission) == 1)
        await binding(str(server.address), tcp=True)
        held.pop()[1].close()


async def test_connections_are_bounded_in_all() -> None:
    async with running(connections=1) as server:
        _, first = await asyncio.open_connection(*server.address)
        await until(lambda: len(server.server.admission) == 1)
        reader, second = await asyncio.open_connection(*server.address)
        assert await ended(reader)
        for writer in (first, second):
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server ended the connection without a word."""
    try:
        return await asyncio.wait_for(reader.read(1), LIMIT) == b""
    except ConnectionError:
        return True


async def test_an_idle_connection_is_closed_but_not_one_with_an_allocation() -> None:
    async with (
        running(connection_idle=1) as server,
        allocate(server.uri("tcp"), username=USER, password=PASSWORD) as relay,
    ):
        reader, writer = await asyncio.open_connection(*server.address)
        # Half a message is no message.
        writer.write(b"\x00\x01\x00\x10")
        assert await ended(reader)
        assert len(server.server.admission) == 1
        await relay.send(b"alive", relay.relayed_address)
        assert await relay.receive() == (b"alive", relay.relayed_address)
        writer.close()


async def test_an_unframeable_connection_is_cut_and_counted() -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"\xff" * 100)
        writer.write(b"\xff" * 100)
        assert await ended(reader)
        assert server.server.counts()["unframeable connections"] == 1
        writer.close()


async def test_a_client_that_does_not_read_loses_datagrams_and_not_its_allocation() -> None:
    loop = asyncio.get_running_loop()
    async with (
        running() as server,
        plain_peer() as peer,
        allocate(server.uri("tcp"), username=USER, password=PASSWORD) as relay,
    ):
        there = Address(*peer.getsockname())
        await relay.bind_channel(there)
        for connection in client_connections(relay):
            connection.pause_reading()
        async with asyncio.timeout(LIMIT):
            while not server.server.counts()["datagrams for slow readers dropped"]:
                peer.sendto(bytes(1_200), relay.relayed_address)
                await asyncio.sleep(0)
        for connection in client_connections(relay):
            connection.resume_reading()
        await relay.send(b"still here", there)
        async with asyncio.timeout(LIMIT):
            assert await loop.sock_recv(peer, 2000) == b"still here"
        assert not server.lines("allocation closed")


def client_connections(relay: object) -> list[asyncio.Transport]:
    """The client's own connections, to misuse."""
    driver = getattr(relay, "_driver")  # noqa: B009 - not the client's public face
    return [held.transport for held in driver._streams._connections.values()]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_two_clients_of_one_server_reach_each_other_though_policy_refuses_loopback(
    transport: str,
) -> None:
    config = Config.model_validate(
        {
            "listeners": {"listen": ["127.0.0.1:0"]},
            "users": {"passwords": {USER: PASSWORD}},
        }
    )
    with capture_logs() as log:
        server = await start(config, ephemeral_keys(), structlog.get_logger())
        at = Running(server, log)
        async with (
            allocate(at.uri(transport), username=USER, password=PASSWORD) as one,
            allocate(at.uri(transport), username=USER, password=PASSWORD) as two,
        ):
            await one.permit(two.relayed_address)
            await two.permit(one.relayed_address)
            await one.send(b"hello", two.relayed_address)
            async with asyncio.timeout(LIMIT):
                assert await two.receive() == (b"hello", one.relayed_address)
        await server.aclose()
