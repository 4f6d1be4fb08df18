"""The benchmark's own programs in C."""

import os
import subprocess
from pathlib import Path

from benchmarks.relay.turn_client import BenchmarkError

__all__ = ["build"]


def build(name: str, directory: Path) -> Path:
    """Compile one into ``directory``."""
    program = directory / name
    source = Path(__file__).with_name(f"{name}.c")
    command = [os.environ.get("CC", "cc"), "-O2", "-o", str(program), str(source)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise BenchmarkError("a C compiler is needed: apt-get install gcc libc6-dev") from None
    except subprocess.CalledProcessError:
        raise BenchmarkError(f"{source} does not compile") from None
    return program
