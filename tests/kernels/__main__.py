"""``python -m tests.kernels``: see ``tests/kernels``."""

import argparse
import sys
from pathlib import Path
from shlex import join

from tests.kernels.machine import run
from tests.kernels.packages import fetch, unpacked
from tests.peering.process import PeerFailed
from tests.project.tree import ROOT

_TESTS = (
    "tests/natkit/relay/test_kernel_unfinished_sums.py",
    "tests/natkit/relay/test_kernel_special_addresses.py",
    "tests/natkit/relay/test_kernel_neighbours.py",
)


def main() -> int:
    """Run the tests under each kernel; 0 where all passed under all."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernels", description=__doc__)
    parser.add_argument("kernels", nargs="+", metavar="KERNEL", help="a package, or a directory")
    parser.add_argument("--tests", nargs="*", default=_TESTS, help="none: the kernel's word alone")
    parser.add_argument("--limit", type=float, default=1800, help="seconds for each kernel")
    arguments = parser.parse_args()
    python = [sys.executable, "-B", "-m"]
    said = join([*python, "tests.kernels.accepted"])
    if arguments.tests:
        words = ("pytest", "-n", "0", "--timeout", "0", "-p", "no:cacheprovider", "--color=no")
        said += " && " + join([*python, *words, *arguments.tests])
    failed = False
    for name in arguments.kernels:
        try:
            kernel = unpacked(Path(name)) if Path(name).is_dir() else fetch(name)
            ran = run(kernel, ("sh", "-c", said), ROOT, arguments.limit)
        except PeerFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(ran.output.strip())
        print(f"{kernel.release}: {_OUTCOMES.get(ran.status, 'failed')}")
        failed |= ran.status != 0
    return int(failed)


_OUTCOMES = {0: "passed", None: "ended, or was ended, before its tests were"}

if __name__ == "__main__":
    sys.exit(main())
