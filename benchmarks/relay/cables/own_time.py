"""What the kernel says that its program takes: nanoseconds of each run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.cpu import family

__all__ = ["counting", "runs"]

_SWITCH: Final = Path("/proc/sys/kernel/bpf_stats_enabled")
_FIELD: Final = re.compile(r"^(prog_id|run_time_ns|run_cnt):\s*(\d+)$", re.MULTILINE)


@contextmanager
def counting() -> Iterator[None]:
    """Have the kernel count, which makes each run take a little longer."""
    before = _SWITCH.read_text(encoding="ascii")
    _SWITCH.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        _SWITCH.write_text(before, encoding="ascii")


def runs(pid: int) -> tuple[int, int]:
    """Nanoseconds of all BPF programs that a process and its children hold, and how many runs."""
    found: dict[str, tuple[int, int]] = {}
    for process in family(pid):
        for file in Path(f"/proc/{process}/fdinfo").iterdir():
            fields = dict(_FIELD.findall(file.read_text(encoding="ascii")))
            if "run_cnt" in fields:
                found[fields["prog_id"]] = int(fields["run_time_ns"]), int(fields["run_cnt"])
    return sum(time for time, _ in found.values()), sum(count for _, count in found.values())
