"""Very many lookups at once, through real sockets; the resolver loses a fifth of the queries."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.locate.stub import Stub, start
from natkit.errors import LocateError, NoService
from natkit.machine import Transport
from sipdns import Locator
from sipdns.query import QueryLimits
from sipdns.resolution import Limits
from tests.conftest import Sized

SEED = 3263
LOST = 0.2
MOST_SOCKETS = 256
PATIENCE = 3
"""Queries of one question after which the resolver answers.  A question that is lost more often
than a lookup has patience counts as unanswerable, and its lookup rightly goes another way."""
UNHURRIED = Limits(query=100.0, straggler=100.0, whole=200.0)
"""Seconds: every question is answered in the end, on a machine that stands still at times too."""

DESCRIPTORS = Path("/proc/self/fd")
RECEIVE_BUFFER = 4 * 1024 * 1024
LOOKUPS_OF_A_DOMAIN = 10


def domain(number: int) -> str:
    return f"d{number}.example"


def zone(number: int) -> list[str]:
    """The records of one domain; the kinds alternate."""
    name = domain(number)
    address = f"10.{number >> 8 & 255}.{number & 255}"
    match number % 5:
        case 0:
            return [
                f'{name}. NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.{name}.',
                f'{name}. NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.{name}.',
                f"_sips._tcp.{name}. SRV 1 0 5061 a.{name}.",
                f"_sips._tcp.{name}. SRV 2 0 5061 b.{name}.",
                f"_sip._udp.{name}. SRV 1 0 5060 b.{name}.",
                f"a.{name}. A {address}.1",
                f"b.{name}. A {address}.2",
            ]
        case 1:
            return [f"_sip._tcp.{name}. SRV 1 0 5070 a.{name}.", f"a.{name}. A {address}.3"]
        case 2:
            return [f"{name}. A {address}.4"]
        case 3:
            return [
                f'{name}. NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.h{number}.example.',
                f"{name}. A {address}.5",
                f"_sip._tcp.h{number}.example. SRV 1 0 5080 a.h{number}.example.",
                f"a.h{number}.example. A {address}.6",
            ]
        case _:
            return [f"_sip._udp.{name}. SRV 0 0 0 .", f"{name}. A {address}.7"]


def wanted(number: int) -> list[tuple[str, str, int]]:
    address = f"10.{number >> 8 & 255}.{number & 255}"
    return (
        [("tls", f"{address}.1", 5061), ("tls", f"{address}.2", 5061)],
        [("tcp", f"{address}.3", 5070)],
        [("udp", f"{address}.4", 5060)],
        [("tcp", f"{address}.6", 5080)],
        [],
    )[number % 5]


class Loses(Stub):
    """Loses a fifth of the queries, and looks how many descriptors are open."""

    def __init__(self, lines: Sequence[str], seed: int) -> None:
        self.random = random.Random(seed)
        self.most_descriptors = 0
        super().__init__(lines, is_lost=self.draw)

    def draw(self, _question: bytes, attempt: int) -> bool:
        if self.received % 16 == 0:
            self.most_descriptors = max(self.most_descriptors, descriptors())
        return attempt < PATIENCE - 1 and self.random.random() < LOST


def descriptors() -> int:
    return sum(1 for _ in DESCRIPTORS.iterdir())


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="descriptors are counted in /proc")
@pytest.mark.timeout(300)
async def test_very_many_lookups_all_end_rightly_on_few_sockets(sized: Sized) -> None:
    domains = sized(quick=100, full=1_000)
    print(f"seed {SEED}")
    stub = Loses([line for number in range(domains) for line in zone(number)], SEED)
    nameserver, listening = await start(stub)
    listening.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER
    )
    before = descriptors()

    async def look_up(number: int) -> str:
        uri = f"sip:{domain(number)}"
        try:
            targets = await locator.locate(uri)
        except NoService:
            return "right" if not wanted(number) else f"{uri}: no service"
        except LocateError as error:
            return f"{uri}: {error}"
        found = [(str(one.transport), one.address.host, one.address.port) for one in targets]
        return "right" if found == wanted(number) else f"{uri}: {found}"

    async with Locator(
        nameservers=[nameserver],
        transports=[Transport.UDP, Transport.TCP, Transport.TLS],
        limits=UNHURRIED,
        query_limits=QueryLimits(whole=UNHURRIED.query),
    ) as locator:
        numbers = list(range(domains)) * LOOKUPS_OF_A_DOMAIN
        random.Random(SEED).shuffle(numbers)
        ended = await asyncio.gather(*(look_up(number) for number in numbers))
    listening.close()
    assert Counter(ended) == {"right": domains * LOOKUPS_OF_A_DOMAIN}
    assert stub.lost > stub.received * LOST * 0.8
    assert 0 < stub.most_descriptors - before <= MOST_SOCKETS
