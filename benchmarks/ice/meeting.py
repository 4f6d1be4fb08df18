"""One meeting of two agents of one stack, timed."""

import asyncio
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.ice.path import Conditions, Forwarder
from benchmarks.ice.stacks import STACKS, Endpoint
from natkit.address import Address
from natkit.ice.candidate import CandidateType
from natkit.ice.candidate_attribute import parse_candidate, write_candidate

__all__ = ["SCENARIOS", "Meeting", "Scenario", "meet"]

LIMIT: Final = 60.0
"""Seconds after which a meeting has failed."""

REPEAT: Final = 0.005
"""Seconds between two datagrams of the application, which sends as soon as it may."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A path, and whether a STUN server is named that never answers."""

    title: str
    conditions: Conditions
    dead_server: bool = False
    repetitions: int = 10


SCENARIOS: Final = {
    "plain": Scenario("nothing in the way", Conditions()),
    "distant": Scenario("50 ms of round trip", Conditions(delay=0.025)),
    "lossy": Scenario(
        "20 % lost each way, 50 ms of round trip", Conditions(loss=0.2, delay=0.025), repetitions=30
    ),
    "dead": Scenario(
        "a STUN server that never answers", Conditions(), dead_server=True, repetitions=3
    ),
}


@dataclass(frozen=True, slots=True)
class Meeting:
    """Seconds from the start of gathering until both have data, and until both have selected.

    ``packets``: messages of STUN that both sent to each other until then.  ``cpu``: seconds of both
    agents' processes.
    ``failed``: it took longer than the limit, and the times are the limit.
    """

    first_data: float
    selected: float
    packets: int
    cpu: float
    failed: bool = False


async def meet(stack: str, scenario: Scenario, seed: int) -> Meeting:
    """Have two agents meet once; ``seed`` chooses which packets are lost."""
    forwarder = Forwarder(scenario.conditions, seed)
    await forwarder.open()
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server: tuple[str, int] | None = silent.getsockname() if scenario.dead_server else None
        ends = [await STACKS[stack](controlling, server) for controlling in (True, False)]
        tasks: set[asyncio.Task[None]] = set()
        began, used = time.monotonic(), _cpu(ends)
        first_data = selected = LIMIT
        try:
            async with asyncio.timeout(LIMIT):
                first_data, selected = await _run(ends, forwarder, tasks, began)
            failed = False
        except TimeoutError:
            failed = True
        meeting = Meeting(first_data, selected, forwarder.carried, _cpu(ends) - used, failed)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            await end.close()
    forwarder.close()
    return meeting


async def _run(
    ends: list[Endpoint], forwarder: Forwarder, tasks: set[asyncio.Task[None]], began: float
) -> tuple[float, float]:
    def begin(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        return task

    def tell(number: int, line: str | None) -> None:
        if line is not None:
            candidate = parse_candidate(line)
            # One path is what is measured: the host candidate's, over UDP.
            if candidate.type is not CandidateType.HOST or candidate.tcp_type is not None:
                return
            line = _moved(line, forwarder, number)
        begin(ends[1 - number].add(line))

    for number, end in enumerate(ends):
        begin(end.gather(partial(tell, number)))
    selected = [begin(end.selected()) for end in ends]
    data = []
    for number, end in enumerate(ends):
        begin(_talk(end, ends[1 - number].credentials))
        data.append(begin(_hear(end)))
    await asyncio.gather(*data)
    first_data = time.monotonic() - began
    await asyncio.gather(*selected)
    return first_data, time.monotonic() - began


async def _talk(end: Endpoint, peer: tuple[str, str]) -> None:
    await end.meet(peer)
    while True:
        await end.send(b"data")
        await asyncio.sleep(REPEAT)


async def _hear(end: Endpoint) -> None:
    await end.receive()


def _moved(line: str, forwarder: Forwarder, agent: int) -> str:
    """The candidate at the forwarder's address."""
    candidate = parse_candidate(line)
    address = candidate.address
    if not isinstance(address, Address):
        raise TypeError(f"{address} is a name")
    place = forwarder.place_of(agent, (address.host, address.port))
    words = write_candidate(candidate).split(" ")
    words[4:6] = [place[0], str(place[1])]
    return f"a={' '.join(words)}"


def _cpu(ends: list[Endpoint]) -> float:
    # Of two in one process, the process is counted once.
    used = [end.cpu_seconds() for end in ends]
    return sum(used) if type(ends[0]).__name__ == "LibniceEndpoint" else used[0]
