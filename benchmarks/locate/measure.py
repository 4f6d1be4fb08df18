"""What is measured: cold lookups, beside sip-dig's, warm ones, and the memory of the cache."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Final

import dns.message
import dns.rdatatype

from benchmarks.cpu import resident_bytes
from benchmarks.locate.stub import Stub
from benchmarks.locate.zones import KINDS, Kind
from natkit.address import Address
from sipdns import Locator
from sipdns.cache import Cache
from sipdns.messages import make_query, read_answer
from sipdns.records import Answer, Question, RecordType

__all__ = [
    "MeasuringError",
    "bytes_of_cached_names",
    "cold",
    "cold_at_full_speed",
    "resolver",
    "sip_dig",
    "sip_dig_version",
    "warm",
]

ROOT: Final = Path(__file__).resolve().parents[2]
TOGETHER: Final = 16
"""Cold lookups under way at a time where they are counted at full speed."""


class MeasuringError(Exception):
    """Something is missing, or did not do what it is measured by."""


@contextlib.contextmanager
def resolver(directory: Path, lines: Sequence[str], delay: float) -> Iterator[Address]:
    """The stub in a process of its own."""
    zone = directory / "zone"
    zone.write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.locate.stub", str(zone), str(delay)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise MeasuringError("the resolver does not start")
        yield Address("127.0.0.1", int(port))
        # Leaving the block closes its standard input, which ends it.


def domain(kind: Kind, number: int) -> str:
    """The name of a domain that is asked for once."""
    return f"k{KINDS.index(kind)}-{number}.example"


async def cold(nameserver: Address, kind: Kind, numbers: range) -> list[tuple[int, float]]:
    """Rounds and seconds of each lookup, one after the other."""
    found = []
    async with Locator(nameservers=[nameserver]) as locator:
        for number in numbers:
            start = perf_counter()
            outcome = await locator.explain(f"sip:{domain(kind, number)}")
            seconds = perf_counter() - start
            if outcome.error is not None:
                raise MeasuringError(f"{kind.title}: {outcome.error}")
            found.append((outcome.rounds, seconds))
    return found


async def cold_at_full_speed(nameserver: Address, kind: Kind, numbers: range) -> float:
    """Lookups a second of this process's CPU, some at a time, from a resolver without delay."""
    start = process_time()
    async with Locator(nameservers=[nameserver]) as locator:
        for first in range(numbers.start, numbers.stop, TOGETHER):
            some = range(first, min(first + TOGETHER, numbers.stop))
            await asyncio.gather(*(locator.locate(f"sip:{domain(kind, one)}") for one in some))
    return len(numbers) / (process_time() - start)


async def warm(nameserver: Address, domains: int, seconds: float) -> tuple[float, float]:
    """Lookups a CPU second from the cache: by ``locate``, and by ``explain``."""
    kind = KINDS[0]
    async with Locator(nameservers=[nameserver]) as locator:
        names = [domain(kind, number) for number in range(domains)]
        for name in names:
            await locator.locate(f"sip:{name}")
        uris = [f"sip:user{number}@{name}" for number, name in enumerate(names)]

        async def rate(look_up: Callable[[str], Awaitable[object]]) -> float:
            count = 0
            start = process_time()
            while process_time() - start < seconds:
                for uri in uris:
                    await look_up(uri)
                count += len(uris)
            return count / (process_time() - start)

        return await rate(locator.locate), await rate(locator.explain)


def sip_dig(nameserver: Address, kind: Kind, numbers: range, directory: Path) -> list[float]:
    """Seconds of each lookup by Sofia's sip-dig, a process each."""
    program = _sip_dig_program()
    configuration = directory / "resolv.conf"
    configuration.write_text(f"nameserver {nameserver.host}\nport {nameserver.port}\n")
    found = []
    for number in numbers:
        command = [program, "--udp", "--tcp", "--tls", f"sip:{domain(kind, number)}"]
        start = perf_counter()
        ended = subprocess.run(
            command,
            env={**os.environ, "SRESOLV_CONF": str(configuration)},
            capture_output=True,
            text=True,
            check=False,
        )
        found.append(perf_counter() - start)
        if ended.returncode or not ended.stdout:
            raise MeasuringError(f"sip-dig: {kind.title}: {ended.stderr.strip()}")
    return found


def sip_dig_version() -> str:
    """As the package says, since sip-dig does not."""
    _sip_dig_program()
    asked = ["dpkg-query", "--showformat", "${Version}", "--show", "sofia-sip-bin"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _sip_dig_program() -> str:
    program = shutil.which("sip-dig")
    if program is None:
        raise MeasuringError("sip-dig is not installed: apt-get install sofia-sip-bin")
    return program


def bytes_of_cached_names(names: int) -> int:
    """What a fresh process grows by when it keeps answers for that many names."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_fill, (names,))


def _fill(names: int) -> int:
    """Keep one answer for each name, all read from messages, in turn of every type."""
    cache = Cache()
    _keep(cache, range(-100, 0))
    gc.collect()
    before = resident_bytes(os.getpid())
    _keep(cache, range(names))
    gc.collect()
    grown = resident_bytes(os.getpid()) - before
    if cache.statistics.evicted or cache.statistics.entries < names:
        raise MeasuringError(f"the cache does not hold {names} names")
    return grown


def _keep(cache: Cache, numbers: range) -> None:
    types = tuple(RecordType(name) for name in ("NAPTR", "SRV", "A", "AAAA"))
    for number in numbers:
        name = f"host-{number}.example"
        question = Question(name, types[number % len(types)])
        message = _message(name, question)
        answer = read_answer(message, question)
        if not isinstance(answer, Answer):
            raise MeasuringError(f"{question}: {answer}")
        cache.put(question, answer, 0.0)


def _message(name: str, question: Question) -> bytes:
    record = {
        "NAPTR": f'{name}. NAPTR 10 50 "s" "SIP+D2U" "" _sip._udp.{name}.',
        "SRV": f"{name}. SRV 10 10 5060 sip1.{name}.",
        "A": f"{name}. A 192.0.2.1",
        "AAAA": f"{name}. AAAA 2001:db8::1",
    }[question.type.value]
    query = dns.message.from_wire(make_query(question, 1))
    return Stub([record]).answer(query)
