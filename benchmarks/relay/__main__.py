"""Measure stun-server and coturn in turn, keep the figures, and write docs/benchmarks.md."""

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cpu
from benchmarks.checkout import commit
from benchmarks.page import add_print_option, publish
from benchmarks.relay.loads import LOADS, SPREAD_LOADS, WINDOW, build_pump, packets
from benchmarks.relay.report import section
from benchmarks.relay.results import SERVERS, SPREAD, WORKERS, Results, bars
from benchmarks.relay.scenarios import allocating, bytes_per_allocation
from benchmarks.relay.servers import RunningServer, coturn, natkit
from benchmarks.relay.turn_client import BenchmarkError

# Besides one for each client and one for each relayed address.
SPARE_DESCRIPTORS = 500


def main() -> int:
    """Run; 0 when every bar is reached, 1 when one is missed or a server failed, 2 wrong use."""
    options = _options()
    try:
        _check(options.allocations)
        with tempfile.TemporaryDirectory(prefix="natkit-benchmark-") as directory:
            results = _measure(Path(directory), options)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return publish(results, section(results), bars(results), keep=options.keep)


class _Options(argparse.Namespace):
    rounds: int
    seconds: float
    allocations: int
    keep: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each load (2)")
    parser.add_argument("--allocations", type=int, default=2_000, help="for memory (2000)")
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    if options.rounds < 1 or options.seconds <= 0 or options.allocations < 100:
        parser.error("at least one round, some seconds, and 100 allocations")
    return options


def _check(allocations: int) -> None:
    """Name what is missing before anything is measured."""
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("the benchmark reads Linux's /proc")
    if len(os.sched_getaffinity(0)) < len(SERVERS):
        raise BenchmarkError("two processors are needed, one for the server and one for the load")
    if shutil.which("taskset") is None:
        raise BenchmarkError("taskset is not installed: apt-get install util-linux")
    needed = allocations + SPARE_DESCRIPTORS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchmarkError(f"{needed} open files are needed, and the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _measure(directory: Path, options: _Options) -> Results:
    pump = build_pump(directory)
    limit = 4 * options.allocations
    with natkit(directory, limit) as ours, coturn(directory) as theirs:
        servers = (ours, theirs)
        results = Results(
            commit=commit("natkit", "stun_server"),
            date=datetime.now(UTC).date().isoformat(),
            machine=f"{cpu.model()}, Linux {platform.release()}",
            python=platform.python_version(),
            versions={server.name: server.version for server in servers},
            seconds=options.seconds,
            window=WINDOW,
            allocations=options.allocations,
        )
        # Memory first: what earlier allocations left behind would be used again.
        for server in servers:
            _say(f"memory: {server.name}")
            grown = bytes_per_allocation(server, options.allocations)
            results.bytes_per_allocation[server.name] = [grown]
        for number in range(options.rounds):
            _round(results, servers, pump, options, number)
    with natkit(directory / "workers", limit, WORKERS) as server:
        for number in range(options.rounds):
            for load in SPREAD_LOADS:
                _say(f"round {number + 1} of {options.rounds}: {load.title}, {WORKERS} workers")
                figures = packets(server, load, pump, options.seconds)
                results.packets.setdefault(SPREAD, {}).setdefault(load.title, []).append(figures)
    return results


def _round(
    results: Results,
    servers: tuple[RunningServer, ...],
    pump: Path,
    options: _Options,
    number: int,
) -> None:
    for load in LOADS:
        _say(f"round {number + 1} of {options.rounds}: {load.title}")
        for server in servers:
            figures = packets(server, load, pump, options.seconds)
            results.packets.setdefault(server.name, {}).setdefault(load.title, []).append(figures)
    _say(f"round {number + 1} of {options.rounds}: allocations")
    for server in servers:
        figures_of_allocating = allocating(server, options.allocations // 2)
        results.allocating.setdefault(server.name, []).append(figures_of_allocating)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
