"""Allocations that come and go leave no memory and no descriptor behind in a running server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from natkit.aio.turn import allocate
from tests.conftest import Sized
from tests.stun_server.place import ALLOW_HERE, HERE
from tests.stun_server.process import (
    PASSWORD,
    USER,
    StunServerProcess,
    stun_server,
)

AT_ONCE = 20
GROWTH_ALLOWED = 8 << 20
"""Bytes of resident memory: the allocator's own ups and downs, and tables that fill up once."""
PEER = Address(HERE, 9)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StunServerProcess]:
    with stun_server(tmp_path, *ALLOW_HERE) as started:
        yield started


def resident(pid: int) -> int:
    """Bytes that a process and its children hold in memory."""
    total = 0
    for process in family(pid):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def descriptors(pid: int) -> int:
    """Files that a process and its children have open."""
    return sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in family(pid))


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, children.read_text(encoding="ascii").split())
    return found


async def churn(uris: tuple[str, ...], count: int) -> None:
    """Open, use and close so many allocations, some of them at a time."""
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            uri = uris[number % len(uris)]
            async with allocate(uri, username=USER, password=PASSWORD) as relay:
                await relay.bind_channel(PEER)
                await relay.send(b"hello", PEER)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(client())


@pytest.mark.timeout(3600)
def test_allocations_that_come_and_go_leave_nothing_behind(
    server: StunServerProcess, sized: Sized
) -> None:
    count = sized(quick=300, full=200_000)
    uris = tuple(f"turn:{server.address}?transport={each}" for each in ("udp", "tcp"))
    pid = server.process.pid
    idle = descriptors(pid)
    asyncio.run(churn(uris, max(200, count // 10)))
    server.wait_until(lambda: descriptors(pid) == idle)
    before = resident(pid)
    asyncio.run(churn(uris, count))
    server.wait_until(lambda: descriptors(pid) == idle)
    grown = resident(pid) - before
    print(f"{count} allocations: {grown >> 10} KB more")
    assert grown < GROWTH_ALLOWED
