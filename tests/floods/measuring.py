"""What a flood does to a server is measured: on which processor it runs, and what memory it has."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import SOAKING

__all__ = ["Memory", "apart", "tables_of"]


class Memory:
    """Bytes of memory that a process alone has in use, beyond what it had at construction."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        # From here on VmHWM is the most that there was (proc(5)).
        (self._process / "clear_refs").write_text("5")
        self._before = self._now("VmRSS")

    @property
    def grown(self) -> int:
        """By how much it has grown."""
        return self._now("VmRSS") - self._before

    @property
    def most(self) -> int:
        """By how much it had grown when it was largest."""
        return self._now("VmHWM") - self._before

    def _now(self, field: str) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def tables_of(pid: int) -> Counter[str]:
    """The tables that a process has in the kernel, by what they hold and the bytes they take."""
    found = Counter[str]()
    for each in Path(f"/proc/{pid}/fdinfo").iterdir():
        text = each.read_text()
        # A descriptor of the same table may be there twice.
        if "map_type" in text:
            found[" ".join(re.findall(r"(?:map_id|memlock):\s+(\d+)", text))] += 1
    return found


@contextmanager
def apart(pid: int) -> Iterator[None]:
    """At full size the process ``pid`` has a processor of its own, and what starts here none of it.

    At the quick size other tests run beside this one, and the system places them all.
    """
    mine = os.sched_getaffinity(0)
    if not SOAKING or len(mine) < 2:
        yield
        return
    last = max(mine)
    os.sched_setaffinity(pid, {last})
    os.sched_setaffinity(0, mine - {last})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
