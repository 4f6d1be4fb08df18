"""Floods against a real proxy on loopback, from many of its addresses, and calls beside them.

Requests of one source, requests and wrong passwords of many, garbage, connections that are never
used.  In soak each lasts a minute.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.machine import Transport
from tests.conftest import Sized
from tests.floods.measuring import Memory
from tests.sip_proxy.shell.world import DOMAIN, agent
from tests.sip_proxy.watched import WatchedProxy, watched_proxy

BURST = 20
"""Datagrams that are sent at a time, a hundred times a second."""
SOURCES = 64
GROWTH = 48 << 20
"""Bytes: the recorder has 8 MiB of them, and an interpreter holds some back."""

CONFIGURATION = f"""
domains = ["{DOMAIN}"]
[policy]
trusted = ["127.0.0.0/24"]
[sources]
messages = 200
strangers = 100
unlimited = []
[trace]
memory = 8
"""

REQUEST = (
    "{method} sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{number}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:u{number}@{domain}>;tag=1\r\nTo: <sip:u{number}@{domain}>\r\n"
    "Call-ID: flood-{number}\r\nCSeq: 1 {method}\r\n{field}Content-Length: 0\r\n\r\n"
)
WRONG = (
    'Authorization: Digest username="u{number}", realm="example.org", nonce="AAAA", '
    'uri="sip:example.org", response="0123456789abcdef0123456789abcdef"\r\n'
)


def source(number: int) -> str:
    """One of the many addresses of the loopback interface, each of another network."""
    return f"127.{1 + number // 250}.{number % 250}.7"


def request(method: str, number: int, field: str = "") -> bytes:
    return REQUEST.format(
        method=method,
        domain=DOMAIN,
        source=f"{source(number % SOURCES)}:5060",
        number=number,
        field=field.format(number=number),
    ).encode()


_users = count()

Make = Callable[[int], bytes]

FLOODS: dict[str, tuple[int, Make]] = {
    "one source": (1, lambda number: request("OPTIONS", number)),
    "registrations": (SOURCES, lambda number: request("REGISTER", number)),
    "wrong passwords": (SOURCES, lambda number: request("REGISTER", number, WRONG)),
    "calls": (SOURCES, lambda number: request("INVITE", number)),
    "garbage": (SOURCES, lambda number: request("OPTIONS", number)[number % 100 :]),
    "long": (SOURCES, lambda number: request("OPTIONS", number, "X: " + "x" * 9_000 + "\r\n")),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WatchedProxy]:
    config = tmp_path / "sip-proxy.toml"
    config.write_text(CONFIGURATION)
    with watched_proxy(tmp_path, "--config", str(config), "--listen", "127.0.0.1:0") as running:
        yield running


@dataclass
class Outcome:
    """Calls that were made beside the flood, and how many were answered."""

    made: int = 0
    answered: int = 0


@dataclass
class Allowance:
    """Datagrams that the flood may send until the next call is made.

    At the quick size it is small, since other tests run beside this one, and a processor that
    others have is no fault of the proxy's; in soak there is no end to it.
    """

    of_each_call: int
    left: int = 0


@asynccontextmanager
async def flooding(
    server: Address, sources: int, make: Make, allowance: Allowance
) -> AsyncIterator[None]:
    """Send as long as this lasts; answers are thrown away."""
    numbers = count()
    with ExitStack() as stack:
        sockets = []
        for number in range(sources):
            sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            sock.bind((source(number), 0))
            sock.setblocking(False)
            sockets.append(sock)

        async def flood() -> None:
            while True:
                for _ in range(min(BURST, allowance.left)):
                    allowance.left -= 1
                    number = next(numbers)
                    sock = sockets[number % sources]
                    try:
                        sock.sendto(make(number), server)
                        sock.recv(65_535)
                    except BlockingIOError:
                        pass
                await asyncio.sleep(0.01)

        task = asyncio.create_task(flood())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def call(server: Address, seconds: float, allowance: Allowance | None = None) -> Outcome:
    """Alice calls Bob again and again."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    async with (
        agent("alice", Transport.UDP, server) as alice,
        # Another user each time: the phone of the time before is gone, and would not answer.
        agent(f"bob{next(_users)}", Transport.UDP, server, answers=lambda _: (180, 486)) as bob,
    ):
        assert (await bob.register().final()).status == 200
        end = loop.time() + seconds
        while loop.time() < end or not outcome.made:
            outcome.made += 1
            if allowance is not None:
                allowance.left = allowance.of_each_call
            outcome.answered += (await alice.call(bob.uri).final()).status == 486
            await asyncio.sleep(0.02)
    return outcome


async def test_calls_go_on_beside_floods_of_each_kind(server: WatchedProxy, sized: Sized) -> None:
    seconds = min(sized(quick=1, full=120), 120) / 2
    memory = Memory(server.process.pid)
    allowance = Allowance(sized(quick=300, full=1 << 30))
    for kind, (sources, make) in FLOODS.items():
        async with flooding(server.address, sources, make, allowance):
            outcome = await call(server.address, seconds, allowance)
        print(kind, outcome, memory.grown >> 20, "MiB")
        assert outcome.answered == outcome.made > 0, kind
    assert memory.grown < GROWTH


async def test_calls_go_on_beside_connections_that_are_never_used(
    server: WatchedProxy, sized: Sized
) -> None:
    target = server.addresses("tcp")[0]
    with ExitStack() as stack:
        for number in range(min(sized(quick=200, full=3_000), 3_000)):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.bind((source(number), 0))
            sock.connect_ex(target)
        outcome = await call(server.address, float(min(sized(quick=1, full=60), 60)))
    assert outcome.answered == outcome.made > 0
