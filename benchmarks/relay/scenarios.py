"""What is measured of a server: packets, memory, allocations."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import machine_seconds, process_seconds, resident_bytes
from benchmarks.relay.servers import LOAD_PROCESSOR, RunningServer
from benchmarks.relay.turn_client import BenchmarkError, Client, timed_allocations
from natkit.address import Address
from natkit.stun.message import Message
from natkit.stun.registry import CHANNEL_FIRST, Method

WINDOW = 128
"""Datagrams under way at a time: enough that the server never waits for the load."""

TOGETHER = 32
"""Requests under way at a time where allocations are counted at full speed."""


@dataclass(frozen=True, slots=True)
class Load:
    """Packets of one kind: ``kind`` is binding, up (client to peer) or down."""

    kind: str
    pairs: int
    size: int

    @property
    def title(self) -> str:
        """What a table calls it."""
        if self.kind == "binding":
            return f"Binding, {self.pairs} clients" if self.pairs > 1 else "Binding, 1 client"
        way = "to the peer" if self.kind == "up" else "to the client"
        plural = "s" if self.pairs > 1 else ""
        return f"ChannelData {way}, {self.pairs} allocation{plural}, {self.size} bytes"


LOADS = (
    Load("binding", 1, 20),
    Load("binding", 64, 20),
    *(
        Load(kind, pairs, size)
        for kind in ("up", "down")
        for pairs in (1, 64)
        for size in (172, 1_000)
    ),
)


@dataclass(frozen=True, slots=True)
class Packets:
    """How a server bore a load; microseconds are of CPU for each packet that arrived."""

    packets_per_second: float
    server_microseconds: float
    machine_microseconds: float
    lost: float


@dataclass(frozen=True, slots=True)
class Allocating:
    """How a server gives allocations; challenge and answer are counted with each."""

    one_by_one_per_second: float
    together_per_second: float
    server_microseconds: float


def build_pump(directory: Path) -> Path:
    """Compile the load generator."""
    program = directory / "pump"
    source = Path(__file__).with_name("pump.c")
    compiler = os.environ.get("CC", "cc")
    try:
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    except FileNotFoundError:
        raise BenchmarkError("a C compiler is needed: apt-get install gcc libc6-dev") from None
    except subprocess.CalledProcessError:
        raise BenchmarkError(f"{source} does not compile") from None
    return program


def packets(server: RunningServer, load: Load, pump: Path, seconds: float) -> Packets:
    """Let ``load`` run against ``server``."""
    with _pairs(server, load) as pairs:
        if load.kind == "binding":
            size, prefix = load.size, Message.request(Method.BINDING, bytes(12)).encode()
        elif load.kind == "up":
            header = CHANNEL_FIRST.to_bytes(2, "big") + load.size.to_bytes(2, "big")
            size, prefix = load.size + len(header), header
        else:
            size, prefix = load.size, b""
        for sock in {sock for pair in pairs for sock in pair}:
            sock.setblocking(False)
        descriptors = [(out.fileno(), into.fileno()) for out, into in pairs]
        command = [
            "taskset",
            "--cpu-list",
            str(LOAD_PROCESSOR),
            str(pump),
            str(seconds),
            str(WINDOW),
            str(size),
            prefix.hex(),
            *(f"{out}:{into}" for out, into in descriptors),
        ]
        machine, process = machine_seconds(), process_seconds(server.pid)
        result = subprocess.run(
            command,
            pass_fds=sorted({fd for pair in descriptors for fd in pair}),
            stdout=subprocess.PIPE,
            check=True,
        )
        machine, process = machine_seconds() - machine, process_seconds(server.pid) - process
        for sock in {sock for pair in pairs for sock in pair}:
            sock.settimeout(1.0)
    report = json.loads(result.stdout)
    received = report["received"]
    if not received:
        raise BenchmarkError(f"{server.name} let nothing through: {load.title}")
    return Packets(
        received / report["seconds"],
        process * 1e6 / received,
        machine * 1e6 / received,
        1 - received / report["sent"],
    )


Pair = tuple[socket.socket, socket.socket]


@contextlib.contextmanager
def _pairs(server: RunningServer, load: Load) -> Iterator[Sequence[Pair]]:
    """The sockets between which packets run, with an allocation each where they need one."""
    clients = [server.client() for _ in range(load.pairs)]
    peers: list[socket.socket] = []
    pairs: list[Pair] = []
    try:
        for client in clients:
            if load.kind == "binding":
                pairs.append((client.socket, client.socket))
                continue
            peer = _peer()
            peers.append(peer)
            relayed = client.allocate()
            client.bind_channel(Address(*peer.getsockname()))
            peer.connect(relayed)
            up = (client.socket, peer)
            pairs.append(up if load.kind == "up" else (peer, client.socket))
        for sock in (*peers, *(client.socket for client in clients)):
            _widen(sock)
        yield pairs
        for client in clients:
            client.close()
    finally:
        for sock in (*peers, *(client.socket for client in clients)):
            sock.close()


def bytes_per_allocation(server: RunningServer, count: int) -> float:
    """What ``count`` allocations with a channel each add to the server's resident memory.

    The first hundredth is not counted: with it come things that are needed once.
    """
    peer = _peer()
    address = Address(*peer.getsockname())
    clients: list[Client] = []
    try:
        before = 0
        first = count // 100
        for number in range(first + count):
            if number == first:
                before = resident_bytes(server.pid)
            client = server.client()
            clients.append(client)
            client.allocate()
            client.bind_channel(address)
        grown = resident_bytes(server.pid) - before
        for client in clients:
            client.close()
    finally:
        for client in clients:
            client.socket.close()
        peer.close()
    return grown / count


def allocating(server: RunningServer, count: int) -> Allocating:
    """Count allocations a second: one after the other, and several at a time."""
    one_by_one, _ = _allocate_all(server, count, 1)
    together, cpu = _allocate_all(server, count, TOGETHER)
    return Allocating(count / one_by_one, count / together, cpu * 1e6 / count)


def _allocate_all(server: RunningServer, count: int, together: int) -> tuple[float, float]:
    clients = [server.client() for _ in range(count)]
    try:
        cpu = process_seconds(server.pid)
        seconds = timed_allocations(clients, together)
        cpu = process_seconds(server.pid) - cpu
        for client in clients:
            client.close()
    finally:
        for client in clients:
            client.socket.close()
    return seconds, cpu


def _peer() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def _widen(sock: socket.socket) -> None:
    """The load's own buffers must not be what loses packets."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
