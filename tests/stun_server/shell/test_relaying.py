"""The plane as the carrier of the server's datagrams."""

import asyncio
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.machine import Failure, Path, Transmit, Transport
from natkit.relay.plane import BindingPolicy
from natkit.relay.userspace import UserspacePlane
from stun_server.shell.relaying import PlaneSockets

LIMIT = 20.0


class Granting:
    """A machine that answers, tells of what it granted, and sends something to a peer."""

    def __init__(self, relayed: Address, peer: Address) -> None:
        self._to_peer = Path(Transport.UDP, relayed, peer)
        self._transmits: list[Transmit] = []
        self._events: list[str] = []

    def receive(self, data: bytes, path: Path, now: float) -> None:  # noqa: ARG002 - whatever comes
        self._transmits = [Transmit(b"granted", path), Transmit(b"to peer", self._to_peer)]
        self._events = ["granted"]

    def disconnected(self, path: Path, now: float) -> None: ...

    def answer(self, request_id: int, result: Address | Failure, now: float) -> None: ...

    def handle_timer(self, now: float) -> None: ...

    def next_deadline(self) -> float | None:
        return None

    def transmits(self) -> Sequence[Transmit]:
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> str | None:
        return self._events.pop() if self._events else None


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Those of a listener, a client, a relayed address and a peer."""
    with ExitStack() as stack:
        made = []
        for _ in range(4):
            sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            made.append(sock)
        yield made


async def test_a_client_hears_of_what_it_was_granted_after_the_plane_did(
    sockets: list[socket.socket],
) -> None:
    """It may use it at once, and the plane of another processor must let it."""
    loop = asyncio.get_running_loop()
    listener, client, relay, peer = sockets
    here, there, relayed, to = (Address(*each.getsockname()) for each in sockets)
    carrier = PlaneSockets(lambda _error, _path: None)
    plane = UserspacePlane(
        loop, carrier.unhandled, random=random.Random(7).randbytes, clock=loop.time
    )
    carrier.use(plane, [here])
    heard: list[tuple[bool, bool]] = []

    def on_event(_: str) -> None:
        # On loopback what was sent has arrived.
        heard.append((_is_there(client), _is_there(peer)))

    driver = Driver(Granting(relayed, to), on_event, datagrams=carrier)
    plane.listen(listener, BindingPolicy())
    plane.open(1, Path(Transport.UDP, here, there), relay, loop.time() + 600)
    client.sendto(b"\0 a request", here)
    async with asyncio.timeout(LIMIT):
        assert await loop.sock_recv(client, 100) == b"granted"
    assert heard == [(False, True)]
    await driver.aclose()


def _is_there(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(100, socket.MSG_PEEK))
    except BlockingIOError:
        return False
