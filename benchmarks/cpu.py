"""What a process and the whole machine have used, from Linux's /proc."""

import os
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


def process_seconds(pid: int) -> float:
    """CPU seconds that all threads of ``pid`` and of its children use, from the scheduler's clock.

    /proc/PID/stat counts timer ticks instead, and misses a thread that always sleeps by then.
    """
    nanoseconds = 0
    for process in family(pid):
        for schedstat in Path(f"/proc/{process}/task").glob("*/schedstat"):
            nanoseconds += int(schedstat.read_text(encoding="ascii").split()[0])
    return nanoseconds * 1e-9


def machine_seconds() -> float:
    """CPU seconds that the whole machine has been busy: all but idle, iowait and steal."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) * _TICK


def resident_bytes(pid: int) -> int:
    """What ``pid`` and its children hold in memory."""
    pages = 0
    for process in family(pid):
        pages += int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * _PAGE


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            found += map(int, children.read_text(encoding="ascii").split())
    return found


def model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
