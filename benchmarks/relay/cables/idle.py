"""Programs that take what the machine has left, so that it is known how busy it was."""

import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from benchmarks.relay.cables.building import build
from benchmarks.relay.turn_client import BenchmarkError

__all__ = ["watching_idle"]

_PLACE = 8
_SIZE = 512 * _PLACE
_PATIENCE = 5.0


@contextmanager
def watching_idle(directory: Path) -> Iterator[Path]:
    """Have every processor watched; the file that says what each had left so far."""
    program = build("idle", directory)
    file = directory / "idle.words"
    file.write_bytes(bytes(_SIZE))
    processors = frozenset(os.sched_getaffinity(0))
    with ExitStack() as stack, file.open("r+b") as opened:
        memory = stack.enter_context(mmap.mmap(opened.fileno(), _SIZE))
        for processor in processors:
            process = subprocess.Popen([str(program), str(file), str(processor)])
            stack.enter_context(process)
            stack.callback(process.kill)
        # Until each is watched.
        deadline = monotonic() + _PATIENCE
        while not all(any(memory[_PLACE * each : _PLACE * (each + 1)]) for each in processors):
            if monotonic() > deadline:
                raise BenchmarkError("the programs that take what is idle do not run")
            sleep(0.01)
        yield file
