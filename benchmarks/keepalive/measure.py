"""The measurements, each in a fresh process, so that memory is that of the flows alone."""

import asyncio
import gc
import os
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final, TypeVar

from benchmarks import cpu
from benchmarks.keepalive.edge import edge
from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.udp import DatagramSockets
from natkit.keepalive import Alive, FlowFailed, FlowKeeper, KeepAliveEvent, Technique
from natkit.keepalive.outbound import UDP_BOUND
from natkit.machine import Path, Transport
from natkit.stun.registry import TRANSACTION_ID_LENGTH

__all__ = ["FLOWS_A_SOCKET", "Measured", "on_loopback", "simulated"]

FLOWS_A_SOCKET: Final = 100
ROUND_TRIP: Final = 0.05
MEAN_SHARE: Final = 0.9
"""Intervals are 80 to 100 % of the bound."""

# A success response with XOR-MAPPED-ADDRESS 198.51.100.7:40000 (RFC 8489 §14.2).
_SUCCESS: Final = b"\x01\x01\x00\x0c"
_MAPPED: Final = (
    b"\x00\x20\x00\x08\x00\x01" + (40000 ^ 0x2112).to_bytes(2, "big") + b"\xe7\x21\xc0\x45"
)

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: ``seconds`` of it were measured, simulated or real, and took ``cpu_seconds``."""

    flows: int
    seconds: float
    keep_alives: int
    failed: int
    cpu_seconds: float
    bytes: int

    @property
    def bytes_a_flow(self) -> float:
        """Resident memory."""
        return self.bytes / self.flows

    @property
    def microseconds(self) -> float:
        """Processor time of a keep-alive: question, answer, and the timer of the next."""
        return self.cpu_seconds / self.keep_alives * 1e6

    @property
    def share(self) -> float:
        """Of one processor."""
        return self.cpu_seconds / self.seconds


def simulated(flows: int, seconds: float) -> Measured:
    """The machine alone, under a clock that leaps from event to event."""
    return _alone(_simulate, flows, seconds)


def on_loopback(flows: int, seconds: float) -> Measured:
    """The machine on real sockets, :data:`FLOWS_A_SOCKET` flows on each."""
    return _alone(_keep_on_loopback, flows, seconds)


def _alone(measure: Callable[[int, float], Measured], flows: int, seconds: float) -> Measured:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, flows, seconds).result()


def _resident() -> int:
    gc.collect()
    return cpu.resident_bytes(os.getpid())


def _simulate(flows: int, seconds: float) -> Measured:
    keeper = FlowKeeper(random=random.Random(1).randbytes)
    before = _resident()
    for number in range(flows):
        here = Address("192.0.2.1", 10_000 + number // FLOWS_A_SOCKET)
        there = Address("203.0.113.1", 10_000 + number % FLOWS_A_SOCKET)
        keeper.keep(Path(Transport.UDP, here, there), Technique.STUN, UDP_BOUND, 0.0)
    answers: deque[tuple[float, bytes, Path]] = deque()
    alive = failed = 0
    began = time.process_time()
    now = 0.0
    while now < seconds:
        due = keeper.next_deadline()
        if answers and (due is None or answers[0][0] <= due):
            now, response, path = answers.popleft()
            keeper.receive(response, path, now)
        elif due is not None:
            now = max(now, due)
            keeper.handle_timer(now)
        for transmit in keeper.transmits():
            identified = transmit.data[4 : 8 + TRANSACTION_ID_LENGTH]
            answers.append((now + ROUND_TRIP, _SUCCESS + identified + _MAPPED, transmit.path))
        while (event := keeper.next_event()) is not None:
            alive += isinstance(event, Alive)
            failed += isinstance(event, FlowFailed)
    took = time.process_time() - began
    answers.clear()
    return Measured(flows, seconds, alive, failed, took, _resident() - before)


def _keep_on_loopback(flows: int, seconds: float) -> Measured:
    with edge(FLOWS_A_SOCKET) as servers:
        return asyncio.run(_keep(servers, flows, seconds))


async def _keep(servers: list[Address], flows: int, seconds: float) -> Measured:
    alive = failed = 0

    def on_event(event: KeepAliveEvent) -> None:
        nonlocal alive, failed
        alive += isinstance(event, Alive)
        failed += isinstance(event, FlowFailed)

    before = _resident()
    datagrams = DatagramSockets()
    keeper = FlowKeeper(random=os.urandom)
    driver: Driver[KeepAliveEvent, object] = Driver(keeper, on_event, datagrams=datagrams)

    def begin(path: Path) -> None:
        driver.run(lambda now: keeper.keep(path, Technique.STUN, UDP_BOUND, now))

    # Begun evenly over one interval, as flows come that are not all opened at once.
    pause = UDP_BOUND * MEAN_SHARE * len(servers) / flows
    for _ in range(-(-flows // len(servers))):
        local = datagrams.open(Address("127.0.0.1", 0))
        for server in servers:
            path = Path(Transport.UDP, local, server)
            begin(path)
        await asyncio.sleep(pause)
    # Until each has been answered, and knows the address that it is seen as.
    await asyncio.sleep(UDP_BOUND)
    alive = 0
    began = time.process_time()
    started = time.monotonic()
    await asyncio.sleep(seconds)
    took, lasted = time.process_time() - began, time.monotonic() - started
    counted, grown = alive, _resident() - before
    kept = len(keeper)
    await driver.aclose()
    return Measured(kept, lasted, counted, failed, took, grown)
