"""Processes on the hosts of a lab that are spoken to in lines of JSON."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from tests.peering.process import PeerFailed

ROOT = Path(__file__).parent.parent.parent


class Steered:
    """A process that is spoken to in lines of JSON."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def tell(self, **command: object) -> None:
        """Say one line."""
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()

    def hear(self, name: str, *values: object) -> dict[str, object]:
        """The next line that has something of that name, or one of these values under it."""
        heard = []
        while line := self._stdout.readline():
            found = cast("dict[str, object]", json.loads(line))
            if name in found and (not values or found[name] in values):
                return found
            heard.append(line)
        raise PeerFailed(f"it ended before it told its {name}, after {''.join(heard)}")


@contextmanager
def steered(prefix: Sequence[str], module: str, *arguments: str) -> Iterator[Steered]:
    """Run a Python module with ``prefix`` before its command."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if "pjsua" in module else None,
        cwd=ROOT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Steered(process.stdin, process.stdout)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
