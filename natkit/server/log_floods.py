"""Lines of one kind that come too fast are counted in place of written.

Whoever can have a line written could otherwise fill the disk with it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

import structlog

__all__ = ["KINDS", "LINES_PER_SECOND", "LogFloods"]

LINES_PER_SECOND = 50
"""Of each kind, which is the text of its event; lines of a library are a kind together."""

KINDS = 256
"""Kinds in one second; beyond them all others are one."""

_SUMMARY = "lines not logged"
_OTHERS = "others"


class LogFloods:
    """A structlog processor; ``summarize`` logs a summary, and ``clock`` is monotonic seconds.

    The events ``every_line`` are written whatever their rate, and so are lines at the level debug,
    which are asked for.
    """

    def __init__(
        self,
        summarize: Callable[[str, str, int], None],
        clock: Callable[[], float],
        every_line: Collection[str] = (),
    ) -> None:
        self._every_line = frozenset(every_line)
        self._summarize = summarize
        self._clock = clock
        self._second = 0
        self._lines: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()

    def __call__(
        self, _: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Let a line pass, or drop it."""
        text = event.get("event")
        if method == "debug" or text in self._every_line or text == _SUMMARY:
            return event
        second = int(self._clock())
        if second != self._second:
            self.flush()
            self._second = second
        kind = str(event.get("logger") or text)
        if kind not in self._lines and len(self._lines) >= KINDS:
            kind = _OTHERS
        self._lines[kind] += 1
        if self._lines[kind] <= LINES_PER_SECOND:
            return event
        if not self._missing:
            self._flush_soon()
        self._missing[kind] += 1
        raise structlog.DropEvent

    def flush(self) -> None:
        """Say how many lines of which kinds were not written; a new second begins."""
        missing, self._missing = self._missing, Counter()
        self._lines.clear()
        for kind, count in missing.items():
            self._summarize(_SUMMARY, kind, count)

    def _flush_soon(self) -> None:
        # Nothing may follow a flood.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        loop.call_later(1.0, self.flush)
