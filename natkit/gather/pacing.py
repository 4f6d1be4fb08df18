"""Beginnings of transactions, one Ta after the other (RFC 8445 §14)."""

from collections import deque
from collections.abc import Callable

from natkit.ice.pacing import Pacer

__all__ = ["StartQueue"]


class StartQueue:
    """Calls each of what is to begin in turn, ``interval`` seconds apart, the first at once.

    ``pacer`` is shared by the process and holds its floor.
    """

    def __init__(self, interval: float, pacer: Pacer) -> None:
        self._interval = interval
        self._pacer = pacer
        self._waiting: deque[Callable[[float], None]] = deque()
        self._due: float | None = None
        self._last = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, begin: Callable[[float], None], now: float) -> None:
        """Have it called with the time when its turn comes, in :meth:`handle_timer`."""
        self._waiting.append(begin)
        if self._due is None:
            self._due = self._pacer.reserve(max(now, self._last + self._interval))

    def clear(self) -> None:
        """Nothing is to begin any more."""
        self._waiting.clear()
        self._due = None

    def handle_timer(self, now: float) -> None:
        """Begin what is due."""
        while self._due is not None and self._due <= now:
            begin = self._waiting.popleft()
            self._last = now
            self._due = None
            if self._waiting:
                self._due = self._pacer.reserve(now + self._interval)
            begin(now)

    def next_deadline(self) -> float | None:
        """When the next one begins."""
        return self._due
