"""Loads of sipp upon a running server, and what each cost it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from benchmarks import cpu
from benchmarks.sip.scenarios import CALLEE, CALLER, REGISTERING
from benchmarks.sip.servers import LOAD_PROCESSOR, BenchmarkError, Server, free_port
from natkit.address import Address

__all__ = ["Callee", "Load", "calls", "registrations"]

HOST: Final = "127.0.0.1"
SPARE: Final = 30.0
"""Seconds beyond its plan after which a load counts as stuck."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load: ``cpu_seconds`` are the server's for all of it."""

    count: int
    failed: int
    seconds: float
    cpu_seconds: float

    @property
    def microseconds(self) -> float:
        """CPU of one."""
        return self.cpu_seconds / max(1, self.count - self.failed) * 1e6

    @property
    def a_second(self) -> float:
        """How many one processor does."""
        return 1e6 / self.microseconds


class Callee:
    """Who is called: a sipp that answers on ``address`` until it is stopped."""

    def __init__(self, directory: Path) -> None:
        self.address = Address(HOST, free_port())
        scenario = directory / "callee.xml"
        scenario.write_text(CALLEE)
        port = str(self.address.port)
        self._process = _sipp(directory, ["-sf", str(scenario), "-p", port])

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def calls(server: Server, callee: Address, directory: Path, *, rate: int, seconds: float) -> Load:
    """Calls to ``callee`` through ``server``, ``rate`` a second, each hung up once answered."""
    scenario = directory / "caller.xml"
    scenario.write_text(CALLER)
    options = [str(server.address), "-sf", str(scenario), "-key", "target", str(callee)]
    return _load(server, directory, options, rate, round(rate * seconds))


def registrations(server: Server, directory: Path, *, rate: int, seconds: float) -> Load:
    """As many users register, each once."""
    scenario, names = directory / "registering.xml", directory / "names.csv"
    scenario.write_text(REGISTERING)
    count = round(rate * seconds)
    names.write_text("SEQUENTIAL\n" + "".join(f"user{number};\n" for number in range(count)))
    options = [str(server.address), "-sf", str(scenario), "-inf", str(names)]
    return _load(server, directory, options, rate, count)


def _load(server: Server, directory: Path, options: Sequence[str], rate: int, count: int) -> Load:
    statistics = directory / "statistics.csv"
    statistics.unlink(missing_ok=True)
    port = str(free_port())
    options = [*options, "-p", port, "-r", str(rate), "-m", str(count), "-l", str(count)]
    options += ["-trace_stat", "-stf", str(statistics), "-fd", "1"]
    before, began = cpu.process_seconds(server.pid), monotonic()
    process = _sipp(directory, options)
    try:
        process.wait(timeout=count / rate + SPARE)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
    seconds = monotonic() - began
    # What is still under way in the server belongs to this load.
    sleep(0.2)
    used = cpu.process_seconds(server.pid) - before
    return Load(count, count - _successes(statistics), seconds, used)


def _successes(statistics: Path) -> int:
    lines = statistics.read_text(encoding="ascii").splitlines() if statistics.exists() else []
    if len(lines) < 2:
        raise BenchmarkError("sipp kept no statistics: is sip-tester installed?")
    return int(
        dict(zip(lines[0].split(";"), lines[-1].split(";"), strict=False))["SuccessfulCall(C)"]
    )


def _sipp(directory: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    command = ["taskset", "--cpu-list", str(LOAD_PROCESSOR), "sipp", "-i", HOST, "-nostdin"]
    command += ["-nd", "-default_behaviors", "all,-bye", *options]
    try:
        return subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise BenchmarkError("sipp is not installed: apt-get install sip-tester") from None
