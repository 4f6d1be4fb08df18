"""Sends a probe through an allocation and back: does the server relay?

Two ways, the second one only if the first did not do:

*direct*
    A socket of our own plays the peer: it sends to the relayed address, which shows our side of the
    relay what its source is, and gets an answer from there.
*second allocation*
    Another allocation at the same server plays the peer.  It works where UDP is blocked between
    here and the relayed addresses, and where a server permits no peers of our network.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from natkit.address import Address
from natkit.aio.secure import SYSTEM_TRUST, Trust
from natkit.aio.turn import Allocation, allocate
from natkit.aio.udp import bind_udp, source_address
from natkit.errors import NatkitError
from natkit.locate import Target

__all__ = ["Attempt", "Way", "probe_relay"]

PROBES: Final = 6
"""Probes of one attempt: some get through any path that is of use."""

PROBE_INTERVAL: Final = 0.3
"""Seconds from one probe to the next, which is how long an answer may take while others wait."""

LAST_WAIT: Final = 1.0
"""Seconds for an answer to the last one."""

TOKEN_LENGTH: Final = 16
"""Bytes of a probe: nobody else's data looks like it."""


class Way(StrEnum):
    """Who played the peer."""

    DIRECT = "direct"
    SECOND_ALLOCATION = "second-allocation"


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one way went.

    ``round_trip`` is seconds to the peer and back, None if no probe came back; ``error`` is what
    the server, or the system, had against it.
    """

    way: Way
    peer: Address | None
    round_trip: float | None = None
    error: NatkitError | None = None


class _Here:
    """A Locator that knows one server: the one that answered."""

    def __init__(self, server: Target) -> None:
        self._server = server

    async def locate(self, uri: str) -> Sequence[Target]:  # noqa: ARG002 - the protocol's
        return [self._server]


async def probe_relay(
    allocation: Allocation, uri: str, username: str, password: str, trust: Trust = SYSTEM_TRUST
) -> list[Attempt]:
    """The attempts that were made, the last one being the one that worked, if any did."""
    direct = await _attempt_directly(allocation)
    if direct.round_trip is not None:
        return [direct]
    return [direct, await _attempt_by_second(allocation, uri, username, password, trust)]


async def _attempt_directly(allocation: Allocation) -> Attempt:
    relayed, mapped = allocation.relayed_address, allocation.mapped_address
    peer = None
    try:
        async with _socket(source_address(relayed)) as (local, send, arrivals):
            # A NAT that hides us from the server hides us from its relayed addresses, too.
            seen = mapped is not None and mapped.family is relayed.family
            peer = mapped if mapped is not None and seen else local
            await allocation.permit(peer)
            async with _echoing(allocation):
                round_trip = await _ping(lambda token: send(token, relayed), arrivals)
    except NatkitError as error:
        return Attempt(Way.DIRECT, peer, error=error)
    return Attempt(Way.DIRECT, peer, round_trip)


async def _attempt_by_second(
    allocation: Allocation, uri: str, username: str, password: str, trust: Trust
) -> Attempt:
    peer = None
    try:
        async with allocate(
            uri,
            username=username,
            password=password,
            locator=_Here(allocation.server),
            trust=trust,
            timeout=PROBES * PROBE_INTERVAL + LAST_WAIT,
        ) as second:
            peer = second.relayed_address
            await second.permit(allocation.relayed_address)
            await allocation.permit(peer)
            arrivals: asyncio.Queue[bytes] = asyncio.Queue()
            async with _echoing(second), _receiving(allocation, arrivals):
                round_trip = await _ping(
                    lambda token: allocation.send(token, second.relayed_address), arrivals
                )
    except NatkitError as error:
        return Attempt(Way.SECOND_ALLOCATION, peer, error=error)
    return Attempt(Way.SECOND_ALLOCATION, peer, round_trip)


async def _ping(
    send: Callable[[bytes], Awaitable[None]], arrivals: asyncio.Queue[bytes]
) -> float | None:
    """Send probes until one comes back; seconds that it took, or None."""
    loop = asyncio.get_running_loop()
    sent_at: dict[bytes, float] = {}
    for number in range(1, PROBES + 1):
        token = os.urandom(TOKEN_LENGTH)
        sent_at[token] = loop.time()
        await send(token)
        patience = PROBE_INTERVAL if number < PROBES else LAST_WAIT
        try:
            async with asyncio.timeout(patience):
                while (arrived := await arrivals.get()) not in sent_at:
                    pass
        except TimeoutError:
            continue
        return loop.time() - sent_at[arrived]
    return None


@asynccontextmanager
async def _echoing(allocation: Allocation) -> AsyncIterator[None]:
    """Meanwhile send back what arrives at the relayed address."""

    async def echo() -> None:
        while True:
            data, peer = await allocation.receive()
            await allocation.send(data, peer)

    async with _meanwhile(echo()):
        yield


@asynccontextmanager
async def _receiving(allocation: Allocation, arrivals: asyncio.Queue[bytes]) -> AsyncIterator[None]:
    """Meanwhile queue what arrives at the relayed address."""

    async def receive() -> None:
        while True:
            data, _ = await allocation.receive()
            arrivals.put_nowait(data)

    async with _meanwhile(receive()):
        yield


@asynccontextmanager
async def _meanwhile(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        # Its own error, the allocation's end as a rule, shows in the probes that get no answer.
        await asyncio.gather(task, return_exceptions=True)


class _Socket(NamedTuple):
    local: Address
    send: Callable[[bytes, Address], Awaitable[None]]
    arrivals: asyncio.Queue[bytes]


class _Arrivals(asyncio.DatagramProtocol):
    """Queues datagrams; ICMP's errors lose a probe, and the next one tells."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's
        self.queue.put_nowait(data)


@asynccontextmanager
async def _socket(local: Address) -> AsyncIterator[_Socket]:
    """A UDP socket of our own."""
    loop = asyncio.get_running_loop()
    sock = bind_udp(local)
    host, port = sock.getsockname()[:2]
    transport, arrivals = await loop.create_datagram_endpoint(_Arrivals, sock=sock)

    async def send(data: bytes, remote: Address) -> None:
        transport.sendto(data, remote)

    try:
        yield _Socket(Address.of(host, port), send, arrivals.queue)
    finally:
        transport.close()
