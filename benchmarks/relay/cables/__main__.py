"""Measure the relay planes and coturn between hosts on virtual cables, in turn."""

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cpu
from benchmarks.checkout import PAGE, RESULTS, commit
from benchmarks.page import add_print_option, publish
from benchmarks.relay.cables.entries import write_entries
from benchmarks.relay.cables.hosts import Hosts, lay, lay_direct
from benchmarks.relay.cables.idle import watching_idle
from benchmarks.relay.cables.loads import Generator
from benchmarks.relay.cables.measuring import NAMES, Measuring
from benchmarks.relay.cables.plain import DIRECT, INTO_DRIVER, UNFINISHED_DIRECT
from benchmarks.relay.cables.plot import picture
from benchmarks.relay.cables.report import section
from benchmarks.relay.cables.results import Results, bars
from benchmarks.relay.cables.servers import UNFINISHED, UNFINISHED_COTURN, versions
from benchmarks.relay.turn_client import BenchmarkError
from natkit.relay.libbpf import BpfError
from tests.netlab.namespaces import Lab, lab
from tests.peering.process import PeerFailed

PLOT = PAGE.parent / "pictures" / "relay-cables.svg"
PROCESSORS = 2
PROGRAMS = {"taskset": "util-linux", "ethtool": "ethtool", "sysctl": "procps"}


def main() -> int:
    """Run; 0 when every bar is reached, 1 when one is missed, 2 when something is missing."""
    options = _options()
    # So that what was started ends with it, and the hosts are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    try:
        _check()
        results = _begun(options)
        _measure(results, options)
    except (BenchmarkError, BpfError, PeerFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.keep:
        PLOT.parent.mkdir(exist_ok=True)
        PLOT.write_text(picture(results), encoding="utf-8")
    text = section(results, str(PLOT.relative_to(PAGE.parent)))
    return publish(results, text, bars(results), keep=options.keep)


class _Options(argparse.Namespace):
    rounds: int
    seconds: float
    entries: int
    add: bool
    keep: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay.cables", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often to measure (10)")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each load (0.2)")
    parser.add_argument("--entries", type=int, default=50_000, help="allocations in tables (50000)")
    parser.add_argument(
        "--add", action="store_true", help="add the rounds to those that are kept of this commit"
    )
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    if options.rounds < 1 or options.seconds <= 0 or options.entries < 1:
        parser.error("rounds, seconds and entries are positive")
    return options


def _check() -> None:
    """Name what is missing before anything is measured."""
    if not sys.platform.startswith("linux") or os.geteuid():
        raise BenchmarkError("the benchmark makes network namespaces: it needs Linux, and root")
    if len(os.sched_getaffinity(0)) < PROCESSORS:
        raise BenchmarkError("two processors are needed, one for the servers and one for the load")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise BenchmarkError(f"{program} is not installed: apt-get install {package}")


def _begun(options: _Options) -> Results:
    """What is kept of this commit, or nothing yet."""
    here = commit("natkit", "stun_server")
    file = Results.file(RESULTS, here)
    if options.add and file.exists():
        return Results.read(file)
    return Results(
        commit=here,
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{cpu.model()}, Linux {platform.release()}",
        real_time=os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
        seconds=options.seconds,
        versions=versions(),
    )


def _measure(results: Results, options: _Options) -> None:
    with tempfile.TemporaryDirectory(prefix="natkit-cables-") as name, lab() as made:
        directory = Path(name)
        hosts = {name: _hosts(name, made) for name in NAMES}
        with watching_idle(directory) as idle:
            measuring = Measuring(hosts, directory, Generator(directory, idle), results)
            for number in range(options.rounds):
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
                measuring.round(number)
    if results.entries is None:
        results.entries = write_entries(options.entries)


def _hosts(name: str, made: Lab) -> Hosts:
    if name in (DIRECT, INTO_DRIVER, UNFINISHED_DIRECT):
        return lay_direct(made, has_offloads=name == UNFINISHED_DIRECT)
    return lay(made, has_offloads=name in (UNFINISHED, UNFINISHED_COTURN))


if __name__ == "__main__":
    sys.exit(main())
