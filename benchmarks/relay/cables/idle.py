"""How busy the whole machine was, from what programs that take the rest got."""

import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from benchmarks.relay.cables.building import build
from benchmarks.relay.turn_client import BenchmarkError

__all__ = ["Idle", "watching_idle"]

_PLACE = 8
_SIZE = 512 * _PLACE
_PATIENCE = 5.0


class Idle:
    """What every processor had left so far."""

    def __init__(self, memory: mmap.mmap, processors: frozenset[int]) -> None:
        # Aligned words, which are read in one piece.
        self._places = memoryview(memory).cast("q")
        self._processors = processors

    def nanoseconds(self) -> int:
        """Of all processors, in all."""
        return sum(self._places[each] for each in self._processors)

    def busy_seconds(self) -> float:
        """Of all processors, in all, since some moment or other."""
        return monotonic() * len(self._processors) - self.nanoseconds() * 1e-9

    def wait(self) -> None:
        """Until each processor is watched."""
        deadline = monotonic() + _PATIENCE
        while not all(self._places[each] for each in self._processors):
            if monotonic() > deadline:
                raise BenchmarkError("the programs that take what is idle do not run")
            sleep(0.01)

    def release(self) -> None:
        """Let go of the memory."""
        self._places.release()


@contextmanager
def watching_idle(directory: Path) -> Iterator[Idle]:
    """Have every processor watched."""
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
        idle = Idle(memory, processors)
        stack.callback(idle.release)
        idle.wait()
        yield idle
