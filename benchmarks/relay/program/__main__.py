"""Measure the kernel's program by itself, and write docs/benchmarks.md."""

import argparse
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from socket import if_nametoindex

from benchmarks import cpu
from benchmarks.checkout import commit
from benchmarks.page import add_print_option, publish
from benchmarks.relay.program.cases import Case, cases
from benchmarks.relay.program.results import COMMAND, Results, section
from benchmarks.relay.program.running import Again, Took
from benchmarks.relay.turn_client import BenchmarkError
from natkit.relay.attaching import Mode
from natkit.relay.libbpf import BpfError
from tests.natkit.relay.cabled import Cabled, inside
from tests.netlab.namespaces import lab

LARGEST = 1_400
PASSES = 10


class _Options(argparse.Namespace):
    sizes: list[int]
    repeat: int
    keep: bool


def main() -> int:
    """Run; 0 when all could be measured, 2 wrong use or something is missing."""
    options = _options()
    try:
        found = {str(size): _measure(size, options.repeat) for size in options.sizes}
    except (BenchmarkError, BpfError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = Results(
        commit=commit("natkit"),
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{cpu.model()}, Linux {platform.release()}",
        nanoseconds=found,
    )
    return publish(results, section(results), (), keep=options.keep)


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[172, 1_200], help="bytes of data (172 1200)"
    )
    parser.add_argument("--repeat", type=int, default=5_000, help="runs at a time (5000)")
    add_print_option(parser)
    options = parser.parse_args(namespace=_Options())
    # All of a message's data is there without padding, so that its end stays where it is.
    if not {*options.sizes} <= {*range(0, LARGEST + 1, 4)} or options.repeat < 1:
        parser.error(f"sizes are multiples of four up to {LARGEST}, and one run is the least")
    return options


def _measure(size: int, repeat: int) -> dict[str, dict[str, int]]:
    found: dict[Case, list[Took]] = {}
    with tempfile.TemporaryDirectory(prefix="natkit-program-") as name, lab() as made:
        world = Cabled(made, Mode.NATIVE)
        again = Again(Path(name), repeat)
        try:
            all_cases = list(cases(world, size))
            with inside(world.server):
                numbers = {"left": if_nametoindex("clients"), "right": if_nametoindex("peers")}
                # What else runs for a while must not meet one case alone.
                for case in all_cases * PASSES:
                    took = again.nanoseconds(world.relay.program, case, numbers[case.side])
                    found.setdefault(case, []).append(took)
        finally:
            again.close()
            world.close()
    nanoseconds: dict[str, dict[str, int]] = {}
    for case, each in found.items():
        least = min(took.whole for took in each) - min(took.alone for took in each)
        nanoseconds.setdefault(case.title, {})[case.families] = least
    return nanoseconds


if __name__ == "__main__":
    sys.exit(main())
