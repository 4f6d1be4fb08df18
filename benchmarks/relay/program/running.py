"""Running a program of the kernel's on one packet again and again (BPF_PROG_TEST_RUN)."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.relay.program.cases import Case
from benchmarks.relay.turn_client import BenchmarkError
from natkit.relay.libbpf import Program, load

__all__ = ["Again", "Took"]

_CLANG: Final = "clang-14"
_CHANGED: Final = 128
_ORIGINAL: Final = struct.Struct(f"=Iii{_CHANGED}s")
_DESCRIPTOR: Final = struct.Struct("=I")
_ONLY: Final = bytes(4)
_BEST_OF: Final = 8


class Took(NamedTuple):
    """Nanoseconds of a run with the packet put back before, and of the latter alone."""

    whole: int
    alone: int


class Again:
    """Has a program treat one packet again and again, ``repeat`` times in one go."""

    def __init__(self, directory: Path, repeat: int) -> None:
        if shutil.which(_CLANG) is None:
            raise BenchmarkError(f"{_CLANG} is not installed: apt-get install {_CLANG} libbpf-dev")
        compiled = directory / "again.bpf.o"
        command = [_CLANG, "-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-c"]
        command += [f"-I/usr/include/{os.uname().machine}-linux-gnu", "-o", str(compiled)]
        command.append(str(Path(__file__).with_name("again.bpf.c")))
        if subprocess.run(command, check=False).returncode:
            raise BenchmarkError(f"{command[-1]} does not compile: apt-get install libbpf-dev")
        sizes = {"original": 1, "measured": 1}
        self._tables, programs = load(compiled.read_bytes(), sizes, ("run_again",))
        self._program = programs["run_again"]
        self._repeat = repeat

    def nanoseconds(self, program: Program, case: Case, interface: int) -> Took:
        """What one run takes, at best of some."""
        once = program.run(case.frame, interface)
        start_moves = len(case.frame) + case.end_moves - len(once.packet)
        first = case.frame[:_CHANGED].ljust(_CHANGED, b"\0")
        original = _ORIGINAL.pack(len(case.frame), -start_moves, -case.end_moves, first)
        self._tables["original"].put(_ONLY, original)
        self._tables["measured"].remove(_ONLY)
        alone = self._least(case.frame, interface)
        self._tables["measured"].put(_ONLY, _DESCRIPTOR.pack(program.descriptor))
        third = self._program.run(case.frame, interface, repeat=3)
        if (third.verdict, len(third.packet)) != (once.verdict, len(once.packet)):
            raise BenchmarkError(f"{case.title}: what is put back is another packet")
        return Took(self._least(case.frame, interface), alone)

    def close(self) -> None:
        """Let go of it."""
        self._program.close()
        for table in self._tables.values():
            table.close()

    def _least(self, frame: bytes, interface: int) -> int:
        return min(
            self._program.run(frame, interface, repeat=self._repeat).duration
            for _ in range(_BEST_OF)
        )
