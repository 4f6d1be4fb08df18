"""``stun-server --workers``: real processes, their deaths, and what they share."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Protocol, Self, cast

import pytest

from natkit.address import Address
from natkit.aio.turn import Allocation, allocate
from natkit.aio.turn_tcp import PeerStream, TcpAllocation, allocate_tcp
from natkit.errors import ErrorResponse, QuotaReached, UnreachableError
from natkit.relay.rates import SMALLEST_BURST
from natkit.server.restarts import CRASH_LOOP_DEATHS
from tests.conftest import Sized
from tests.stun_server.place import ALLOW_HERE, HERE, PREFIX, SERVER, at_server
from tests.stun_server.process import (
    LIMIT,
    PASSWORD,
    PLANE,
    USER,
    Line,
    StunServerProcess,
    stun_server,
)
from tests.stun_server.shell.test_event_delivery import hook

# So many clients that all of them at one of two workers is a chance of one in 32,768.
CLIENTS = 16


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def uri(server: StunServerProcess, transport: str = "udp") -> str:
    return f"turn:{server.address}?transport={transport}"


def workers(server: StunServerProcess) -> dict[int, int]:
    """The process of each worker, by its number: the last argument but one."""
    found = {}
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    for child in children.split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        # Between its start and its exec it looks like the supervisor.
        if b"stun_server.shell.worker" in command:
            found[int(command[-3])] = int(child)
    return found


def worker_of(server: StunServerProcess, relay: Allocation) -> int:
    """Which worker opened an allocation."""
    ends = (str(relay.mapped_address), str(relay.relayed_address))

    def lines() -> list[object]:
        opened = server.lines("allocation opened")
        return [line["worker"] for line in opened if (line["client"], line["relayed"]) == ends]

    server.wait_until(lines)
    (worker,) = lines()
    assert isinstance(worker, int)
    return worker


class Together:
    """Allocations that end all at once: to end one whose server has died takes seconds."""

    def __init__(self) -> None:
        self._each: list[AsyncExitStack] = []

    async def enter(self, allocation: AbstractAsyncContextManager[Allocation]) -> Allocation:
        self._each.append(AsyncExitStack())
        return await self._each[-1].enter_async_context(allocation)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(one.aclose() for one in self._each))


@asynccontextmanager
async def clients(
    server: StunServerProcess, count: int = CLIENTS, transport: str = "udp"
) -> AsyncIterator[dict[int, list[Allocation]]]:
    """Allocations by the worker that has each."""
    async with Together() as together:
        found: dict[int, list[Allocation]] = {}
        for _ in range(count):
            relay = await together.enter(
                allocate(uri(server, transport), username=USER, password=PASSWORD)
            )
            found.setdefault(worker_of(server, relay), []).append(relay)
        yield found


async def passes(sender: Allocation, receiver: Allocation, data: bytes) -> None:
    """Data of one client reaches the other by both relayed addresses."""
    await sender.send(data, receiver.relayed_address)
    async with asyncio.timeout(LIMIT):
        assert await receiver.receive() == (data, sender.relayed_address)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_clients_of_different_workers_reach_each_other_though_policy_refuses_the_host(
    directory: Path, transport: str
) -> None:
    with stun_server(directory, "--workers", "2") as server:
        async with clients(server, transport=transport) as found:
            first, second = found[0][0], found[1][0]
            await first.permit(second.relayed_address)
            await second.permit(first.relayed_address)
            await passes(first, second, b"there")
            await passes(second, first, b"back")
            await first.bind_channel(second.relayed_address)
            await second.bind_channel(first.relayed_address)
            await passes(first, second, b"there by channel")
            await passes(second, first, b"back by channel")
            ready = server.lines("ready")
            assert [line["workers"] for line in ready] == [2]


async def test_the_quota_of_a_user_is_one_for_all_workers(directory: Path) -> None:
    config = directory / "server.toml"
    config.write_text("[limits]\nallocations_per_user = 16\n[listeners]\nworkers = 2\n")
    with stun_server(directory, "--config", str(config)) as server:
        async with clients(server) as found:
            assert sorted(found) == [0, 1]
            for _ in range(4):
                with pytest.raises(QuotaReached):
                    async with allocate(uri(server), username=USER, password=PASSWORD):
                        pass
        async with clients(server):
            # What has ended at either worker counts no more.
            pass
        async with clients(server) as found:
            victim = 0
            os.kill(workers(server)[victim], signal.SIGKILL)
            server.wait_until(lambda: server.lines("worker restarted"))
            # Neither does what ended with a worker.
            async with clients(server, len(found[victim])):
                pass


class Echo(asyncio.DatagramProtocol):
    """A peer that sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


@asynccontextmanager
async def echo() -> AsyncIterator[Address]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HERE, 0))
    yield Address(*transport.get_extra_info("sockname"))
    transport.close()


class Sink(asyncio.DatagramProtocol):
    """A peer that counts what it gets."""

    def __init__(self) -> None:
        self.octets = 0
        self.ends = 0

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        self.octets += len(data)
        self.ends += len(data) == 1


async def test_the_bandwidth_of_a_user_is_one_for_all_workers(directory: Path) -> None:
    config = directory / "server.toml"
    # Next to nothing a second, so that however long it takes only the burst passes.
    config.write_text("[limits]\nbandwidth_per_user = 1\n[listeners]\nworkers = 2\n")
    arguments = ("--config", str(config), *ALLOW_HERE)
    with stun_server(directory, *arguments) as server:
        loop = asyncio.get_running_loop()
        transport, sink = await loop.create_datagram_endpoint(Sink, local_addr=(HERE, 0))
        peer = Address(*transport.get_extra_info("sockname"))
        async with clients(server) as found:
            for worker in (0, 1):
                relay = found[worker][0]
                await relay.bind_channel(peer)
                for _ in range(50):
                    await relay.send(bytes(1_000), peer)
            # Each worker has had all of it when a small one passes.
            deadline = monotonic() + LIMIT
            while sink.ends < 2:
                assert monotonic() < deadline
                for worker in (0, 1):
                    await found[worker][0].send(b".", peer)
                await asyncio.sleep(0.02)
        transport.close()
        # Of 100,000 bytes.
        assert 60_000 <= sink.octets <= SMALLEST_BURST + LIMIT


async def test_every_worker_tells_of_its_sessions(directory: Path) -> None:
    config = directory / "server.toml"
    async with hook(HERE) as told:
        config.write_text(f'[events]\nurl = "{told.url}"\ntoken = "of the hook"\n')
        with stun_server(directory, "--config", str(config), "--workers", "2") as server:
            async with clients(server) as found:
                counts = {worker: len(relays) for worker, relays in found.items()}
            deadline = monotonic() + LIMIT
            while sum(each["event"] == "closed" for each in told.events) < CLIENTS:
                assert monotonic() < deadline, server.log
                await asyncio.sleep(0.02)
    for kind in ("opened", "closed"):
        sessions = [str(each["session"]) for each in told.events if each["event"] == kind]
        assert Counter(int(each.partition("-")[0]) for each in sessions) == counts
    assert len({str(each["id"]) for each in told.events}) == len(told.events)
    assert set(told.shown) == {"Bearer of the hook"}


class Load:
    """One client that sends, and waits for each datagram to come back: any that is lost fails."""

    def __init__(self, relay: Allocation, peer: Address) -> None:
        self._relay = relay
        self._peer = peer
        self.count = 0

    async def run(self, stop: asyncio.Event) -> None:
        await self._relay.bind_channel(self._peer)
        while not stop.is_set():
            data = self.count.to_bytes(8, "big")
            await self._relay.send(data, self._peer)
            async with asyncio.timeout(LIMIT):
                assert await self._relay.receive() == (data, self._peer)
            self.count += 1


async def until(server: StunServerProcess, loads: list[Load], event: str, times: int) -> None:
    """Until the log has the event that often and every client got some datagrams more."""
    deadline = monotonic() + LIMIT
    while len(server.lines(event)) < times:
        assert monotonic() < deadline, server.log
        await asyncio.sleep(0.02)
    before = [load.count for load in loads]
    while any(load.count < count + 5 for load, count in zip(loads, before, strict=True)):
        assert monotonic() < deadline, "no datagram passes"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_the_others_lose_no_packet_when_a_worker_is_killed_and_when_it_is_back(
    directory: Path, transport: str, sized: Sized
) -> None:
    deaths = sized(quick=2, full=CRASH_LOOP_DEATHS - 1)
    with stun_server(directory, "--workers", "4", *ALLOW_HERE) as server:
        async with (
            clients(server, 2 * CLIENTS, transport) as found,
            echo() as peer,
            asyncio.TaskGroup() as group,
        ):
            victim = max(found, key=lambda worker: (len(found[worker]), worker))
            survivors = [
                Load(relay, peer)
                for worker, relays in found.items()
                if worker != victim
                for relay in relays
            ]
            assert survivors
            stop = asyncio.Event()
            for load in survivors:
                group.create_task(load.run(stop))
            for death in range(1, deaths + 1):
                process = workers(server)[victim]
                os.kill(process, signal.SIGKILL)
                await until(server, survivors, "worker died", death)
                await until(server, survivors, "worker restarted", death)
                line = server.lines("worker died")[-1]
                assert (line["worker"], line["process"]) == (victim, process)
                assert line["how"] == "was killed by SIGKILL"
            stop.set()
        assert sorted(workers(server)) == [0, 1, 2, 3]


async def test_a_reload_and_a_drain_lose_no_packet_of_those_who_stay(directory: Path) -> None:
    config = directory / "server.toml"
    config.write_text("[limits]\nallocations_per_user = 100\n")
    arguments = ("--config", str(config), "--workers", "2", *ALLOW_HERE)
    with stun_server(directory, *arguments) as server:
        async with clients(server) as found, echo() as peer, asyncio.TaskGroup() as group:
            loads = [Load(relay, peer) for relays in found.values() for relay in relays]
            stop = asyncio.Event()
            for load in loads:
                group.create_task(load.run(stop))
            # Each worker says so, and the supervisor.
            config.write_text("[limits]\nallocations_per_user = 90\n")
            server.process.send_signal(signal.SIGHUP)
            await until(server, loads, "reloaded", 3)
            assert all(
                line["changed"] == ["limits.allocations_per_user"]
                for line in server.lines("reloaded")
            )
            config.write_text("[limits]\nallocations_per_user = 0\n")
            server.process.send_signal(signal.SIGHUP)
            # What is wrong is refused before any worker hears of it.
            await until(server, loads, "not reloaded", 1)
            server.process.send_signal(signal.SIGTERM)
            await until(server, loads, "draining", 2)
            stop.set()
        # The last session ends, and so does the server.
        assert server.process.wait(LIMIT) == 0
        assert len(server.lines("not reloaded")) == 1


async def refused_everywhere(server: StunServerProcess) -> None:
    """Whichever worker a client comes to, it is told at once that nothing is granted."""
    for _ in range(CLIENTS):
        with pytest.raises(ErrorResponse) as refusal:
            async with allocate(uri(server), username=USER, password=PASSWORD):
                pass
        assert refusal.value.code == 508


async def test_workers_that_drain_answer_everybody_until_the_last_session_of_all_ends(
    directory: Path,
) -> None:
    with stun_server(directory, "--workers", "2") as server:
        async with AsyncExitStack() as last:
            async with AsyncExitStack() as rest:
                found: dict[int, list[Allocation]] = {}
                while sorted(found) != [0, 1]:
                    one = AsyncExitStack()
                    relay = await one.enter_async_context(
                        allocate(uri(server), username=USER, password=PASSWORD)
                    )
                    worker = worker_of(server, relay)
                    found.setdefault(worker, []).append(relay)
                    await (last if worker == 0 else rest).enter_async_context(one)
                server.process.send_signal(signal.SIGTERM)
                server.wait_until(partial(_has_lines, server, "draining", 3))
                await refused_everywhere(server)
            # Worker 1 has no session any more.
            closed = partial(_has_lines, server, "allocation closed", len(found[1]))
            server.wait_until(closed)
            await refused_everywhere(server)
            os.kill(workers(server)[1], signal.SIGKILL)
            server.wait_until(lambda: server.lines("worker restarted"))
            # Its successor drains, too.
            server.wait_until(partial(_has_lines, server, "draining", 4))
            await refused_everywhere(server)
            # And who has a session goes on.
            await found[0][0].permit(Address("8.8.8.8", 1))
        assert server.process.wait(LIMIT) == 0
        assert [line.get("worker") for line in server.lines("drained")] == [None]
        assert sorted(str(line["worker"]) for line in server.lines("stopped")) == ["0", "1"]


async def test_a_drain_of_workers_is_over_when_its_limit_comes_though_sessions_live(
    launch: "Launch", directory: Path
) -> None:
    config = directory / "server.toml"
    config.write_text("[limits]\ndrain = 0\n")
    server = launch(*LISTEN, "--config", str(config), "--workers", "2")
    server.wait_until(lambda: server.lines("ready"))
    relay = allocate(uri(server), username=USER, password=PASSWORD)
    await relay.__aenter__()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(LIMIT) == 0
    assert [line["sessions_cut"] for line in server.lines("drain over")] == [1]
    assert len(server.lines("stopped")) == 2
    await relay.__aexit__(None, None, None)


async def test_a_worker_that_is_told_to_end_drains_and_has_a_successor(directory: Path) -> None:
    with stun_server(directory, "--workers", "2") as server:
        async with clients(server) as found:
            assert sorted(found) == [0, 1]
            before = workers(server)
            os.kill(before[1], signal.SIGTERM)
            server.wait_until(lambda: server.lines("draining"))
            assert workers(server) == before
        server.wait_until(lambda: server.lines("worker restarted"))
        async with clients(server) as found:
            assert sorted(found) == [0, 1]
        assert workers(server)[0] == before[0]


async def test_a_dead_workers_clients_are_served_by_its_successor(directory: Path) -> None:
    with stun_server(directory, "--workers", "2", *ALLOW_HERE) as server:
        for process in workers(server).values():
            os.kill(process, signal.SIGKILL)
        # Both sockets stay open meanwhile: nobody is told that the port is closed.
        async with clients(server) as found:
            assert sorted(found) == [0, 1]


@asynccontextmanager
async def tcp_echo() -> AsyncIterator[Address]:
    """A peer that sends back what it gets; at the end each of its connections must have ended."""
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1_000):
                writer.write(data)
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    listener = await asyncio.start_server(connected, HERE, 0)
    try:
        yield Address(*listener.sockets[0].getsockname())
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*serving)
    finally:
        listener.close()
        for task in serving:
            task.cancel()


async def crossed(
    server: StunServerProcess, relay: TcpAllocation, peer: Address
) -> tuple[PeerStream, Line]:
    """A connection to the peer that its client bound at another worker, and what the log says."""
    given = server.from_now_on("peer connection given to another worker")
    deadline = monotonic() + LIMIT
    while True:
        closed = server.from_now_on("peer connection closed")
        stream = await relay.connect(peer)
        stream.writer.write(b"hello")
        async with asyncio.timeout(LIMIT):
            assert await stream.reader.readexactly(5) == b"hello"
        if lines := given():
            return stream, lines[0]
        await stream.aclose()
        # One at a time to a peer; and the peer runs here.
        while not closed():
            assert monotonic() < deadline, server.log
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("dies", ["owner", "receiver"])
async def test_a_connection_that_crossed_ends_everywhere_with_either_of_its_workers(
    directory: Path, dies: str
) -> None:
    config = directory / "server.toml"
    config.write_text("[log]\nlevel = 'debug'\n")
    arguments = ("--config", str(config), "--workers", "2", *ALLOW_HERE)
    with stun_server(directory, *arguments) as server:
        async with tcp_echo() as peer, AsyncExitStack() as stack:
            relay = allocate_tcp(uri(server, "tcp"), username=USER, password=PASSWORD)
            stack.enter_context(contextlib.suppress(UnreachableError))
            allocation = await stack.enter_async_context(relay)
            stream, line = await crossed(server, allocation, peer)
            receiver = line["to"]
            assert isinstance(receiver, int)
            victim = receiver if dies == "receiver" else 1 - receiver
            os.kill(workers(server)[victim], signal.SIGKILL)
            # Whoever died, the client's end of the connection is closed or reset.
            async with asyncio.timeout(LIMIT):
                with contextlib.suppress(ConnectionError):
                    assert await stream.reader.read(1) == b""
            stream.writer.close()
            if dies == "receiver":
                # Its owner counts it no more, and the allocation goes on.
                def ended() -> bool:
                    closed = server.lines("peer connection closed")
                    return line["connection"] in {each["connection"] for each in closed}

                server.wait_until(ended)
                again = await allocation.connect(peer)
                await again.aclose()
        server.wait_until(lambda: server.lines("worker restarted"))


class Launch(Protocol):
    """Starts a process that may end by itself."""

    def __call__(self, *arguments: str) -> StunServerProcess: ...


@pytest.fixture
def launch(directory: Path) -> Iterator[Launch]:
    """Start a process that may end by itself."""
    started: list[StunServerProcess] = []

    def start(*arguments: str) -> StunServerProcess:
        state = ("--data-dir", str(directory / "state"), "--log-json")
        plane = ("--relay-plane", PLANE)
        started.append(StunServerProcess(directory, *state, *plane, *arguments, prefix=PREFIX))
        return started[-1]

    yield start
    for each in started:
        each.kill()


LISTEN = ("--listen", f"{SERVER}:0", "--user", f"{USER}:{PASSWORD}")


def _has_lines(server: StunServerProcess, event: str, count: int) -> bool:
    return len(server.lines(event)) == count


def error(server: StunServerProcess) -> str:
    """The one line that says why it ended."""
    (line,) = [line for line in server.log.splitlines() if line.startswith("error: ")]
    return line


def test_a_worker_that_dies_again_and_again_ends_the_server(
    launch: Launch,
) -> None:
    server = launch(*LISTEN, "--workers", "2")
    server.wait_until(lambda: server.lines("ready"))
    other = workers(server)[1]
    for death in range(1, CRASH_LOOP_DEATHS):
        server.wait_until(lambda: 0 in workers(server))
        os.kill(workers(server)[0], signal.SIGKILL)
        server.wait_until(partial(_has_lines, server, "worker died", death))
    server.wait_until(lambda: 0 in workers(server))
    os.kill(workers(server)[0], signal.SIGKILL)
    assert server.process.wait(LIMIT) == 1
    assert "worker 0 died again and again, the last time it was killed by SIGKILL" in error(server)
    assert not Path(f"/proc/{other}").exists()


def test_workers_end_with_their_supervisor(launch: Launch) -> None:
    server = launch(*LISTEN, "--workers", "2")
    server.wait_until(lambda: server.lines("ready"))
    address, children = server.address, workers(server)
    server.process.kill()
    server.process.wait(LIMIT)
    deadline = monotonic() + LIMIT
    while any(Path(f"/proc/{child}").exists() for child in children.values()):
        assert monotonic() < deadline
    with at_server():
        sock = socket.socket(type=socket.SOCK_DGRAM)
    with sock:
        sock.bind(address)


def test_a_port_of_another_server_is_busy_though_workers_share_theirs(
    launch: Launch, tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    with stun_server(tmp_path / "first", "--workers", "2") as first:
        server = launch("--listen", str(first.address), "--workers", "2")
        assert server.process.wait(LIMIT) == 2
        assert f"UDP {first.address} is in use" in error(server)
        assert server.log.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_ends_all(launch: Launch, number: signal.Signals) -> None:
    server = launch(*LISTEN, "--workers", "2")
    server.wait_until(lambda: server.lines("ready"))
    assert server.stop(number) == 0
    assert len(server.lines("stopped")) == 2
    assert not server.lines("worker died")


@pytest.mark.parametrize("wrong", ["0", "256", "-1", "many"])
def test_a_wrong_number_of_workers_is_refused(launch: Launch, wrong: str) -> None:
    server = launch(*LISTEN, f"--workers={wrong}")
    assert server.process.wait(LIMIT) == 2
    assert error(server).startswith("error: --workers")


def test_a_worker_starts_without_what_serves_the_operators_pages() -> None:
    script = "import sys, stun_server.shell.worker; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
