"""Measure the proxy beside Kamailio and sippy, keep the figures, and write docs/benchmarks.md."""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import cpu
from benchmarks.checkout import commit
from benchmarks.page import add_print_option, publish
from benchmarks.sip import loads, machine, servers
from benchmarks.sip.report import section
from benchmarks.sip.results import KAMAILIO, MEMORY, NATKIT, SIPPY, SQLITE, Results, bars

Starter = Callable[[Path], AbstractContextManager[servers.Server]]


def main() -> int:
    """Run; 0 when every bar is reached, 1 when one is missed, 2 when something is missing."""
    options = _options()
    if not sys.platform.startswith("linux"):
        print("error: the benchmark reads Linux's /proc", file=sys.stderr)
        return 2
    results = Results(
        commit=commit("natkit", "sipdns", "sip_proxy"),
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{cpu.model()}, Linux {platform.release()}",
        python=platform.python_version(),
        real_time=os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR),
    )
    try:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as directory:
                _round(results, options, Path(directory))
    except servers.BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return publish(results, section(results), bars(results), keep=options.keep)


class _Options(argparse.Namespace):
    rounds: int
    seconds: float
    rates: list[int]
    registrations: int
    sippy: bool
    keep: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sip", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure (3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (8)")
    parser.add_argument(
        "--rates",
        type=int,
        nargs="*",
        default=[100, 250],
        help="calls a second (100 250); without any, none",
    )
    parser.add_argument(
        "--registrations", type=int, default=1500, help="a second (1500); 0 for none"
    )
    parser.add_argument(
        "--sippy", action="store_true", help="measure sippy too; it is no requirement of natkit's"
    )
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    if min(options.rounds, options.seconds, *options.rates) <= 0 or options.registrations < 0:
        parser.error("rounds, seconds and rates are positive")
    if options.keep and not (options.rates and options.registrations):
        parser.error("the page has calls and registrations: what is a part of it takes --print")
    return options


def _round(results: Results, options: _Options, directory: Path) -> None:
    _call(results, options, directory)
    if options.registrations:
        _register(results, options, directory)
    results.forwarding.append(machine.forwarding_microseconds(5000))
    results.binding.append(machine.binding_bytes(20_000))
    results.transaction.append(machine.transaction_bytes(2_000))


def _call(results: Results, options: _Options, directory: Path) -> None:
    callee = loads.Callee(directory)
    called: dict[str, Starter] = {NATKIT: servers.natkit, KAMAILIO: servers.kamailio}
    if options.sippy:
        called[SIPPY] = partial(servers.sippy, callee=callee.address)
    try:
        for rate in options.rates:
            for name, start in called.items():
                with start(directory / f"{name}-{rate}") as server:
                    results.versions[name] = server.version
                    load = loads.calls(
                        server, callee.address, directory, rate=rate, seconds=options.seconds
                    )
                results.calls.setdefault(str(rate), {}).setdefault(name, []).append(load)
    finally:
        callee.stop()


def _register(results: Results, options: _Options, directory: Path) -> None:
    registrars: dict[str, Starter] = {
        MEMORY: servers.natkit,
        SQLITE: partial(servers.natkit, store="sqlite"),
        KAMAILIO: servers.kamailio,
    }
    for name, start in registrars.items():
        with start(directory / name.replace(", ", "-")) as server:
            results.versions[server.name] = server.version
            load = loads.registrations(
                server, directory, rate=options.registrations, seconds=options.seconds
            )
        results.registrations.setdefault(name, []).append(load)


if __name__ == "__main__":
    sys.exit(main())
