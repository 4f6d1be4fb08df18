"""Floods against a real server on loopback, from many of its addresses, and users beside them.

Connections that say nothing, say it slowly, announce the longest messages, or never end their
handshakes; and datagrams of every length.  In soak each lasts a minute with thousands of them.
"""

import asyncio
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.stun.registry import MAGIC_COOKIE
from tests.certificates import Authority
from tests.conftest import Sized
from tests.floods.legal import legal_load
from tests.stun_server.place import HERE, SERVER, SOURCES
from tests.stun_server.process import LIMIT, PASSWORD, USER, StunServerProcess, stun_server

IDLE = 2
CONNECTIONS_IN_ALL = 4_000
# What an interpreter may hold back, and a TLS engine for each connection.
GROWTH = 24 << 20
GROWTH_PER_CONNECTION = 128 << 10

LONGEST = struct.pack("!HHI", 0x0003, 0xFFFC, MAGIC_COOKIE) + bytes(12)
"""The header of an Allocate request that has 65,532 bytes still to come."""

CLIENT_HELLO = bytes.fromhex("160301 01fc 010001f8 0303") + bytes(32)
"""The begin of a TLS handshake message that has hundreds of bytes still to come."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StunServerProcess]:
    issued = Authority(tmp_path).issue(SERVER)
    config = tmp_path / "config.toml"
    config.write_text(
        f"""
        [listeners]
        listen = ["{SERVER}:0", "tls:{SERVER}:0", "dtls:{SERVER}:0"]
        certificate = "{issued.chain}"
        key = "{issued.key}"
        [policy]
        allow_peer = ["{SOURCES}.0.0.0/8"]
        [limits]
        connections = {CONNECTIONS_IN_ALL}
        connection_idle = {IDLE}
        """
    )
    listen = ("--listen", f"{SERVER}:0", "--listen", f"tls:{SERVER}:0")
    with stun_server(
        tmp_path, "--config", str(config), *listen, "--listen", f"dtls:{SERVER}:0"
    ) as running:
        yield running


def resident(server: StunServerProcess) -> int:
    """Bytes of memory in use by the server alone."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in text.splitlines() if "VmRSS" in line))


def source(number: int) -> str:
    """One of our many addresses."""
    return f"{SOURCES}.{64 + (number >> 8 & 63)}.{number & 255}.7"


class Flood:
    """Sockets that are opened and never behave; ``say`` is what each says, piece by piece."""

    def __init__(self, target: Address, pieces: list[bytes]) -> None:
        self._target = target
        self._pieces = pieces
        self._sockets: list[tuple[socket.socket, Iterator[bytes]]] = []
        self.opened = 0
        self.ended = 0

    def open(self, number: int) -> None:
        """One more, from an address of its own."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source(number), 0))
        sock.connect_ex(self._target)
        self._sockets.append((sock, iter(self._pieces)))
        self.opened += 1

    def go_on(self) -> None:
        """Each says its next piece, and those that the server has ended are put away."""
        for entry in tuple(self._sockets):
            sock, pieces = entry
            try:
                if sock.recv(4_096, socket.MSG_PEEK) == b"":
                    raise ConnectionResetError
            except BlockingIOError:
                pass
            except OSError:
                self._put_away(entry)
                continue
            try:
                sock.send(next(pieces, b""))
            except BlockingIOError:
                pass
            except OSError:
                self._put_away(entry)

    def __len__(self) -> int:
        return len(self._sockets)

    def _put_away(self, entry: tuple[socket.socket, Iterator[bytes]]) -> None:
        entry[0].close()
        self._sockets.remove(entry)
        self.ended += 1

    def close(self) -> None:
        for sock, _ in self._sockets:
            sock.close()
        self._sockets.clear()


async def beside(server: StunServerProcess, seconds: float, step: Callable[[], None]) -> None:
    """Do ``step`` again and again for so long, and serve users meanwhile."""
    ready = asyncio.Event()
    uri = f"turn:{server.address}"
    load = asyncio.create_task(legal_load(uri, USER, PASSWORD, HERE, seconds, ready=ready))
    while not load.done():
        if ready.is_set():
            step()
        await asyncio.sleep(0.02)
    outcome = await load
    print(outcome)
    assert outcome.is_kept, outcome


def _raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.mark.parametrize(
    ("transport", "pieces"),
    [
        pytest.param("tcp", [], id="silent"),
        pytest.param("tcp", [bytes([each]) for each in LONGEST] + [b"\0"] * 10_000, id="slow"),
        pytest.param("tcp", [LONGEST + bytes(60_000)], id="longest"),
        pytest.param("tls", [], id="tls-silent", marks=pytest.mark.soak),
        pytest.param("tls", [CLIENT_HELLO], id="tls-half-open"),
        pytest.param(
            "tls",
            [bytes([each]) for each in CLIENT_HELLO],
            id="tls-slow",
            marks=pytest.mark.soak,
        ),
    ],
)
async def test_users_are_served_beside_connections_that_never_come_to_a_point(
    server: StunServerProcess, sized: Sized, transport: str, pieces: list[bytes]
) -> None:
    _raise_descriptor_limit()
    at_once = min(sized(quick=200, full=3_000), 3_000)
    seconds = float(min(sized(quick=2, full=60), 60))
    flood = Flood(server.addresses(transport)[0], pieces)
    before = resident(server)
    numbers = iter(range(1 << 30))
    largest = 0

    def step() -> None:
        nonlocal largest
        for _ in range(min(20, at_once - len(flood))):
            flood.open(next(numbers))
        flood.go_on()
        largest = max(largest, resident(server))

    with ExitStack() as stack:
        stack.callback(flood.close)
        await beside(server, seconds, step)
        assert flood.opened >= at_once // 2
        assert largest - before < GROWTH + at_once * GROWTH_PER_CONNECTION
        # None of them stays: the server ends what comes to no point.
        async with asyncio.timeout(2 * LIMIT):
            while len(flood):
                flood.go_on()
                await asyncio.sleep(0.05)
    assert flood.ended == flood.opened


async def test_users_are_served_beside_handshakes_of_dtls_that_go_nowhere(
    server: StunServerProcess, sized: Sized
) -> None:
    """A cookie is asked for by less than what asked, and nothing is kept."""
    target = server.addresses("dtls")[0]
    hello = _dtls_hello()
    seconds = float(min(sized(quick=2, full=60), 60))
    sent = received = 0
    numbers = iter(range(1 << 30))
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((f"{SOURCES}.127.9.9", 0))

        def step() -> None:
            nonlocal sent, received
            for _ in range(20):
                with socket.socket(type=socket.SOCK_DGRAM) as other:
                    other.bind((source(next(numbers)), 0))
                    other.sendto(hello, target)
                sock.sendto(hello, target)
                sent += len(hello)
            try:
                while True:
                    received += len(sock.recv(65_535))
            except BlockingIOError:
                pass

        before = resident(server)
        await beside(server, seconds, step)
    assert 0 < received <= sent
    assert resident(server) - before < GROWTH


async def test_users_are_served_beside_datagrams_of_every_length_and_claim(
    server: StunServerProcess, sized: Sized
) -> None:
    seconds = float(min(sized(quick=2, full=60), 60))
    claims = (0, 4, 0x7FFC, 0xFFFC, 0xFFFF)
    sizes = (0, 1, 3, 4, 19, 20, 24, 1_500, 9_000, 60_000)
    datagrams = [
        (struct.pack("!HHI", kind, claim, MAGIC_COOKIE) + bytes(size))[:size]
        for kind in (0x0001, 0x0003, 0x0016, 0x4000, 0x7FFF)
        for claim in claims
        for size in sizes
    ]
    numbers = iter(range(1 << 30))
    before = resident(server)
    with ExitStack() as stack:
        sockets = []
        for number in range(50):
            sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            sock.bind((source(number), 0))
            sock.setblocking(False)
            sockets.append(sock)

        def step() -> None:
            for sock in sockets[:10]:
                for _ in range(2):
                    try:
                        sock.sendto(datagrams[next(numbers) % len(datagrams)], server.address)
                    except BlockingIOError:
                        return
            sockets.append(sockets.pop(0))

        await beside(server, seconds, step)
    assert resident(server) - before < GROWTH


def _dtls_hello() -> bytes:
    """A ClientHello of DTLS 1.2 without a cookie (RFC 6347 §4.2.2), one cipher, no extensions."""
    body = bytes.fromhex("fefd") + bytes(32) + b"\0" + b"\0" + bytes.fromhex("0002c02b 0100")
    length = len(body).to_bytes(3, "big")
    handshake = b"\1" + length + bytes(2) + bytes(3) + length + body
    return bytes.fromhex("16feff 0000 000000000000") + len(handshake).to_bytes(2, "big") + handshake
