"""Packets: what kinds of load there are, and how a server bears one."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import machine_seconds, process_seconds
from benchmarks.relay.servers import LOAD_PROCESSOR, RunningServer
from benchmarks.relay.turn_client import BenchmarkError, Client
from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import CHANNEL_FIRST, TRANSACTION_ID_LENGTH, Method

__all__ = [
    "LOADS",
    "NARROW",
    "SPREAD_LOADS",
    "WINDOW",
    "Load",
    "Packets",
    "build_pump",
    "packets",
]

WINDOW = 128
"""Packets under way at a time: enough that the server never waits for the load."""

NARROW = 4
"""Packets under way where the server has little to do at a time."""

CHANNEL_HEADER_LENGTH = 4
PATIENCE = 10.0
_BEGIN = bytes(2)
_LARGEST = 65_535


@dataclass(frozen=True, slots=True)
class Load:
    """Packets of one kind, between so many pairs, each of so many bytes for who receives it.

    ``kind`` is binding, up or down (client to peer, peer to client) on a channel, or send or data,
    the same by indications.
    """

    kind: str
    pairs: int
    size: int
    window: int = WINDOW
    transport: Transport = Transport.UDP

    @property
    def title(self) -> str:
        """What a table calls it."""
        over = "" if self.transport is Transport.UDP else f" over {self.transport.upper()}"
        few = "" if self.window == WINDOW else f", {self.window} under way"
        plural = "s" if self.pairs > 1 else ""
        if self.kind == "binding":
            return f"Binding{over}, {self.pairs} client{plural}{few}"
        what = {
            "up": "ChannelData to the peer",
            "down": "ChannelData to the client",
            "send": "Send indications",
            "data": "Data indications",
        }[self.kind]
        return f"{what}{over}, {self.pairs} allocation{plural}, {self.size} bytes{few}"


LOADS = (
    Load("binding", 1, 20),
    Load("binding", 64, 20),
    *(
        Load(kind, pairs, size)
        for kind in ("up", "down")
        for pairs in (1, 64)
        for size in (172, 1_000)
    ),
    Load("send", 1, 172),
    Load("data", 1, 172),
    Load("binding", 1, 20, NARROW),
    *(Load(kind, pairs, 172, NARROW) for kind in ("up", "down") for pairs in (1, NARROW)),
    *(
        Load(kind, pairs, 172, transport=transport)
        for transport in (Transport.TCP, Transport.TLS, Transport.DTLS)
        for kind in ("up", "down")
        for pairs in (1, 16)
    ),
)

SPREAD_LOADS = tuple(
    load for load in LOADS if load.pairs >= 16 and load.size <= 172 and not load.transport.is_secure
)
"""Loads of clients enough to keep several workers busy."""


@dataclass(frozen=True, slots=True)
class Packets:
    """How a server bore a load; microseconds are of CPU for each packet that arrived."""

    packets_per_second: float
    server_microseconds: float
    machine_microseconds: float
    lost: float


def build_pump(directory: Path) -> Path:
    """Compile the load generator."""
    program = directory / "pump"
    source = Path(__file__).with_name("pump.c")
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-o", str(program), str(source), "-lssl", "-lcrypto"]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise BenchmarkError("a C compiler is needed: apt-get install gcc libc6-dev") from None
    except subprocess.CalledProcessError:
        raise BenchmarkError(
            f"{source} does not compile; it needs OpenSSL: apt-get install libssl-dev"
        ) from None
    return program


def packets(server: RunningServer, load: Load, pump: Path, seconds: float) -> Packets:
    """Let ``load`` run against ``server``."""
    with _sockets(server, load) as (clients, peers):
        control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.settimeout(PATIENCE)
        with control, its_end, _started(pump, load, seconds, clients, peers, its_end) as process:
            its_end.close()
            if load.transport.is_secure:
                for number, client in enumerate(clients):
                    client.way = _Bridge(control, number)
            _prepare(load, clients, peers)
            machine, used = machine_seconds(), process_seconds(server.pid)
            control.send(_BEGIN)
            output, _ = process.communicate()
            machine, used = machine_seconds() - machine, process_seconds(server.pid) - used
        if process.returncode:
            raise BenchmarkError(f"the load generator failed: {load.title}")
        for client in clients:
            if not load.transport.is_secure:
                client.socket.settimeout(PATIENCE)
            client.close()
    report = json.loads(output)
    received = report["received"]
    if not received:
        raise BenchmarkError(f"{server.name} let nothing through: {load.title}")
    return Packets(
        received / report["seconds"],
        used * 1e6 / received,
        machine * 1e6 / received,
        1 - received / report["sent"],
    )


class _Bridge:
    """A client's messages through the load generator, which holds its secure connection."""

    def __init__(self, control: socket.socket, number: int) -> None:
        self._control = control
        self._number = number.to_bytes(2, sys.byteorder)

    def send(self, message: bytes) -> None:
        self._control.send(self._number + message)

    def receive(self) -> bytes:
        return self._control.recv(_LARGEST)[2:]


@contextlib.contextmanager
def _sockets(
    server: RunningServer, load: Load
) -> Iterator[tuple[list[Client], list[socket.socket]]]:
    """Clients with nothing but a socket, and a peer for each of them."""
    clients: list[Client] = []
    peers: list[socket.socket] = []
    try:
        for _ in range(load.pairs):
            clients.append(server.client(load.transport))
            peers.append(server.new_peer())
        for sock in (*peers, *(client.socket for client in clients)):
            # The load's own buffers must not be what loses packets.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        yield clients, peers
    finally:
        for sock in (*peers, *(client.socket for client in clients)):
            sock.close()


@contextlib.contextmanager
def _started(
    pump: Path,
    load: Load,
    seconds: float,
    clients: Sequence[Client],
    peers: Sequence[socket.socket],
    control: socket.socket,
) -> Iterator[subprocess.Popen[bytes]]:
    """The load generator, which shakes hands where it must and then waits to be told to begin."""
    prefix = _prefix(load, peers)
    size = load.size if load.kind in ("binding", "down", "data") else load.size + len(prefix)
    sockets = zip([client.socket for client in clients], peers, strict=True)
    ends = [(client.fileno(), peer.fileno()) for client, peer in sockets]
    kinds = [str(load.transport), str(Transport.UDP)]
    if load.kind == "binding":
        ends = [(out, out) for out, _ in ends]
        kinds[1] = kinds[0]
    elif load.kind in ("down", "data"):
        ends = [(out, into) for into, out in ends]
        kinds.reverse()
    command = ["taskset", "--cpu-list", str(LOAD_PROCESSOR), str(pump), str(seconds)]
    command += [str(load.window), str(size), prefix.hex(), *kinds]
    command += [str(CHANNEL_HEADER_LENGTH + load.size), str(control.fileno())]
    command += [f"{out}:{into}" for out, into in ends]
    inherited = {descriptor for pair in ends for descriptor in pair} | {control.fileno()}
    process = subprocess.Popen(command, pass_fds=sorted(inherited), stdout=subprocess.PIPE)
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _prefix(load: Load, peers: Sequence[socket.socket]) -> bytes:
    """What each packet begins with; the data follows."""
    if load.kind == "binding":
        return Message.request(Method.BINDING, bytes(TRANSACTION_ID_LENGTH)).encode()
    if load.kind == "up":
        return CHANNEL_FIRST.to_bytes(2, "big") + load.size.to_bytes(2, "big")
    if load.kind == "send":
        if load.pairs > 1 or load.size % 4:
            raise BenchmarkError("all packets begin alike: one peer, and data without padding")
        attributes = XorPeerAddress(Address(*peers[0].getsockname())), Data(bytes(load.size))
        message = Message.indication(Method.SEND, bytes(TRANSACTION_ID_LENGTH), *attributes)
        return message.encode()[: -load.size]
    return b""


def _prepare(load: Load, clients: Sequence[Client], peers: Sequence[socket.socket]) -> None:
    """Allocate, and let each client and its peer reach each other."""
    if load.kind == "binding":
        return
    for client, peer in zip(clients, peers, strict=True):
        relayed = client.allocate()
        address = Address(*peer.getsockname())
        if load.kind in ("up", "down"):
            client.bind_channel(address)
        else:
            client.permit(address)
        peer.connect(relayed)
