"""Measure what keeping many flows open takes, keep the figures, and write docs/benchmarks.md."""

import argparse
import os
import platform
import sys
from datetime import UTC, datetime

from benchmarks import cpu
from benchmarks.checkout import commit
from benchmarks.keepalive import measure
from benchmarks.keepalive.report import section
from benchmarks.keepalive.results import Results, bars
from benchmarks.page import add_print_option, publish
from natkit.keepalive.outbound import UDP_BOUND


def main() -> int:
    """Run; 0 when every bar is reached, 1 when one is missed, 2 when something is missing."""
    options = _options()
    if not sys.platform.startswith("linux"):
        print("error: the benchmark reads Linux's /proc", file=sys.stderr)
        return 2
    results = Results(
        commit=commit("natkit"),
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{cpu.model()}, Linux {platform.release()}",
        python=platform.python_version(),
        real_time=os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
        flows=options.flows,
    )
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        results.simulated.append(measure.simulated(options.flows, options.simulated))
        results.loopback.append(measure.on_loopback(options.flows, options.seconds))
    return publish(results, section(results), bars(results), keep=options.keep)


class _Options(argparse.Namespace):
    rounds: int
    flows: int
    simulated: float
    seconds: float
    keep: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keepalive", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure (3)")
    parser.add_argument("--flows", type=int, default=50_000, help="to keep open (50000)")
    parser.add_argument("--simulated", type=float, default=120.0, help="simulated seconds (120)")
    parser.add_argument("--seconds", type=float, default=10.0, help="real seconds (10)")
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    if options.rounds < 1 or options.flows < measure.FLOWS_A_SOCKET or options.seconds <= 0:
        parser.error(f"at least one round, {measure.FLOWS_A_SOCKET} flows, and some seconds")
    if options.simulated <= 2 * UDP_BOUND:
        parser.error(f"at least {2 * UDP_BOUND:g} simulated seconds: two intervals")
    return options


if __name__ == "__main__":
    sys.exit(main())
