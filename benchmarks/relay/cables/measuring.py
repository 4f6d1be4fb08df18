"""What is measured in which order: all under one load, then all under the next."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.relay.cables.crowd import Crowd
from benchmarks.relay.cables.hosts import Hosts
from benchmarks.relay.cables.loads import DELAYS, LOADS, Burden, Ends, Generator, Load, Report
from benchmarks.relay.cables.own_time import counting, runs
from benchmarks.relay.cables.plain import (
    DIRECT,
    INTO_DRIVER,
    REFERENCES,
    ROUTER,
    UNFINISHED_DIRECT,
    Plain,
)
from benchmarks.relay.cables.results import Results
from benchmarks.relay.cables.servers import (
    GENERIC,
    KERNEL,
    NATIVE,
    OTHERS,
    SERVERS,
    Server,
    serving,
)
from benchmarks.relay.turn_client import BenchmarkError

__all__ = ["COMPARED", "NAMES", "PASSES", "RUNNING_IN_THE_KERNEL", "Measuring"]

NAMES = (*SERVERS, *OTHERS, *REFERENCES)

PASSES = 4
"""Parts of the seconds of a load, between which all others have theirs."""

_SHARE = 1 / 3
"""Of the seconds of a load: for what varies less."""

COMPARED = tuple(load for load in LOADS if load.clients == 64)
"""The loads under which other ways to run are measured, and the program by itself."""

RUNNING_IN_THE_KERNEL = (KERNEL, GENERIC, NATIVE)


class Way(Protocol):
    """What packets can be sent through."""

    def grow(self, count: int) -> None:
        """Have so many clients."""
        ...

    def ends(self, load: Load) -> Ends:
        """Those of a load, with no more clients than there are."""
        ...


@dataclass(frozen=True, slots=True)
class Measuring:
    """A machine that is prepared, hosts for each of :data:`NAMES`, and what was found so far."""

    hosts: Mapping[str, Hosts]
    directory: Path
    generator: Generator
    results: Results

    def round(self, number: int) -> None:
        """Everything once; servers are new each time, and take turns at being the first."""
        with ExitStack() as stack:
            servers = {
                name: stack.enter_context(serving(name, self.hosts[name], self.directory / name))
                for name in (*SERVERS, *OTHERS)
            }
            ways: dict[str, Way] = {
                name: stack.enter_context(closing(Crowd(self.hosts[name], server.address)))
                for name, server in servers.items()
            }
            stack.enter_context(self.hosts[INTO_DRIVER].with_drivers())
            self.hosts[ROUTER].let_route()
            for name in REFERENCES:
                ways[name] = stack.enter_context(closing(Plain(self.hosts[name])))
            first = number % len(NAMES)
            for count in sorted({load.clients for load in LOADS}):
                for load in LOADS:
                    if load.clients == count:
                        names = [name for name in _from(first) if _is_measured(name, load)]
                        for name in names:
                            ways[name].grow(count)
                        self._all_under(load, {name: ways[name] for name in names})
            self._own_times(servers, ways)

    def _all_under(self, load: Load, ways: Mapping[str, Way]) -> None:
        generator, results, seconds = self.generator, self.results, self.results.seconds
        reports: dict[str, list[Report]] = {name: [] for name in ways}
        for _ in range(PASSES):
            for name, way in ways.items():
                with _said_of(name):
                    reports[name].append(generator.flood(load, way.ends(load), seconds / PASSES))
        for name, parts in reports.items():
            with _said_of(name):
                burden = Burden.of(parts)
            results.burdens.setdefault(name, {}).setdefault(load.title, []).append(burden)
        if load not in DELAYS:
            return
        for name in (*SERVERS, DIRECT):
            with _said_of(name):
                delay = generator.delay(load, ways[name].ends(load), seconds * _SHARE)
            results.delays.setdefault(name, {}).setdefault(load.title, []).append(delay)

    def _own_times(self, servers: Mapping[str, Server], ways: Mapping[str, Way]) -> None:
        """What the kernel's program takes by itself, when nothing else is asked."""
        with counting():
            for name in RUNNING_IN_THE_KERNEL:
                for load in COMPARED:
                    before = runs(servers[name].pid)
                    self.generator.flood(load, ways[name].ends(load), self.results.seconds * _SHARE)
                    after = runs(servers[name].pid)
                    each = (after[0] - before[0]) / (after[1] - before[1])
                    self.results.own.setdefault(name, {}).setdefault(load.title, []).append(each)


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    try:
        yield
    except BenchmarkError as error:
        raise BenchmarkError(f"{name}: {error}") from None


def _is_measured(name: str, load: Load) -> bool:
    """Whether that load is for it: other ways to run have some, as have references."""
    if name in (INTO_DRIVER, ROUTER):
        return load.kind == "down"
    return name not in (*OTHERS, UNFINISHED_DIRECT) or load in COMPARED


def _from(first: int) -> tuple[str, ...]:
    return (*NAMES[first:], *NAMES[:first])
