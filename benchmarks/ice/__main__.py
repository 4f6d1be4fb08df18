"""Measure how soon two ICE agents meet, keep the figures, and write docs/benchmarks.md."""

import argparse
import asyncio
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata

from benchmarks import cpu
from benchmarks.checkout import commit
from benchmarks.ice.meeting import SCENARIOS, meet
from benchmarks.ice.report import section
from benchmarks.ice.results import Results, bars
from benchmarks.ice.stacks import STACKS
from benchmarks.ice.thousand import crowd
from benchmarks.page import add_print_option, publish
from tests.peering import roster


def main() -> int:
    """Run; 0 when every bar is reached, 1 when one is missed, 2 when something is missing."""
    options = _options()
    for peer in ("aioice", "libnice"):
        fault = roster.fault(peer)
        if fault is not None:
            print(f"error: {fault}", file=sys.stderr)
            return 2
    results = Results(
        commit=commit("natkit"),
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{cpu.model()}, Linux {platform.release()}",
        python=platform.python_version(),
        aioice=metadata.version("aioice"),
        libnice=str(roster.peers()["libnice"].version()),
        real_time=os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
    )
    # First, while the process has nothing else in its memory.
    results.crowd = crowd(options.agents)
    for stack in STACKS:
        # What is loaded and looked up once is not part of a meeting.
        asyncio.run(meet(stack, SCENARIOS["plain"], 0))
    for name, scenario in SCENARIOS.items():
        print(scenario.title, file=sys.stderr, flush=True)
        by_stack = results.meetings[name] = {stack: [] for stack in STACKS}
        for seed in range(max(1, round(scenario.repetitions * options.scale))):
            for stack, found in by_stack.items():
                found.append(asyncio.run(meet(stack, scenario, seed)))
    return publish(results, section(results), bars(results), keep=options.keep)


class _Options(argparse.Namespace):
    agents: int
    scale: float
    keep: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ice", description=__doc__)
    parser.add_argument("--agents", type=int, default=1000, help="in one process (1000)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of meetings (1)")
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    if options.agents < 2 or options.agents % 2 or options.scale <= 0:
        parser.error("agents are an even number, and the scale is more than 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
