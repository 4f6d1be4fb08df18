"""Measure sipdns and sip-dig, keep the figures, and write docs/benchmarks.md."""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import cpu
from benchmarks.checkout import commit
from benchmarks.locate import measure
from benchmarks.locate.report import section
from benchmarks.locate.results import Cold, Results, bars
from benchmarks.locate.zones import KINDS, Kind
from benchmarks.page import add_print_option, publish

DELAY = 0.05
WARM_DOMAINS = 1_000


def main() -> int:
    """Run; 0 when every bar is reached, 1 when one is missed, 2 when something is missing."""
    options = _options()
    try:
        with tempfile.TemporaryDirectory(prefix="natkit-benchmark-") as directory:
            results = _measure(Path(directory), options)
    except measure.MeasuringError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return publish(results, section(results), bars(results), keep=options.keep)


class _Options(argparse.Namespace):
    rounds: int
    domains: int
    seconds: float
    names: int
    keep: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.locate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often to measure (5)")
    parser.add_argument("--domains", type=int, default=5, help="of each kind in a round (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of warm lookups (2)")
    parser.add_argument("--names", type=int, default=100_000, help="to cache (100000)")
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    if options.rounds < 1 or options.domains < 1 or options.seconds <= 0 or options.names < 1:
        parser.error("at least one round, one domain, one name, and some seconds")
    return options


def _measure(directory: Path, options: _Options) -> Results:
    if not sys.platform.startswith("linux"):
        raise measure.MeasuringError("the benchmark reads Linux's /proc")
    results = Results(
        commit=commit("natkit", "sipdns"),
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{cpu.model()}, Linux {platform.release()}",
        python=platform.python_version(),
        sip_dig=measure.sip_dig_version(),
        delay=DELAY,
        real_time=os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
        cold={kind.title: Cold() for kind in KINDS},
        warm_domains=WARM_DOMAINS,
        cached_names=options.names,
    )
    once = _zones(KINDS, options.rounds * options.domains)
    often = _zones(KINDS[:1], WARM_DOMAINS)
    for number in range(options.rounds):
        _say(f"round {number + 1} of {options.rounds}: nothing known")
        with measure.resolver(directory, once, DELAY) as slow:
            some = range(number * options.domains, (number + 1) * options.domains)
            for kind in KINDS:
                cold = results.cold[kind.title]
                for rounds, seconds in asyncio.run(measure.cold(slow, kind, some)):
                    cold.rounds.append(rounds)
                    cold.seconds.append(seconds)
                cold.sip_dig_seconds += measure.sip_dig(slow, kind, some, directory)
        _say(f"round {number + 1} of {options.rounds}: all known")
        with measure.resolver(directory, often, 0.0) as quick:
            every = range(WARM_DOMAINS)
            results.cold_per_cpu_second.append(
                asyncio.run(measure.cold_at_full_speed(quick, KINDS[0], every))
            )
            located, explained = asyncio.run(measure.warm(quick, WARM_DOMAINS, options.seconds))
            results.warm_per_cpu_second.append(located)
            results.explained_per_cpu_second.append(explained)
    _say(f"memory of {options.names:,} names")
    results.cached_bytes.append(measure.bytes_of_cached_names(options.names))
    return results


def _zones(kinds: Sequence[Kind], domains: int) -> list[str]:
    return [
        line
        for kind in kinds
        for number in range(domains)
        for line in kind.zone(measure.domain(kind, number))
    ]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
