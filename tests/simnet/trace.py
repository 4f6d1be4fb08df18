"""What happened, in order: for the reader of a failing seed, and to compare two runs."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

RECORDS_KEPT = 20_000
"""The oldest records of a long run go, so that simulated days fit in memory."""


@dataclass(frozen=True, slots=True)
class Record:
    """``place`` did ``what`` at ``time``, with ``subject``: a packet, an event, a number."""

    time: float
    place: str
    what: str
    subject: object


class Trace:
    """The last records of a run."""

    def __init__(self, start: float) -> None:
        self.records: deque[Record] = deque(maxlen=RECORDS_KEPT)
        self.describe: Callable[[object], str] = str
        self._start = start

    def add(self, time: float, place: str, what: str, subject: object) -> None:
        """Note one thing that happened."""
        self.records.append(Record(time, place, what, subject))

    def count(self, what: str, place: str | None = None) -> int:
        """How often ``what`` was noted, at ``place`` or anywhere."""
        return sum(record.what == what and place in (None, record.place) for record in self.records)

    def format(self, last: int = 400) -> str:
        """The ``last`` records, one a line, times counted from the start of the simulation."""
        skipped = max(0, len(self.records) - last)
        lines = [f"… {skipped} earlier records"] if skipped else []
        lines += [
            f"{record.time - self._start:14.6f}  {record.place:<12} {record.what:<18} "
            f"{self.describe(record.subject)}"
            for record in list(self.records)[skipped:]
        ]
        return "\n".join(lines)

    def digest(self) -> str:
        """A hash of all records: equal for two runs that did the same."""
        total = hashlib.sha256()
        for record in self.records:
            line = f"{record.time!r} {record.place} {record.what} {record.subject}\n"
            total.update(line.encode())
        return total.hexdigest()
