"""Lines of one kind that come too fast are counted in place of written.

Whoever can have a line written could otherwise fill the disk with it.  What became of sessions is
written whatever its rate, for an operator adds these lines up; users and their quotas bound them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

__all__ = ["EVERY_LINE", "KINDS", "LINES_PER_SECOND", "LogFloods"]

LINES_PER_SECOND = 50
"""Of each kind, which is the text of its event; lines of a library are a kind together."""

KINDS = 256
"""Kinds in one second; beyond them all others are one."""

EVERY_LINE = frozenset(
    {
        "allocation opened",
        "allocation closed",
        "allocation moved",
        "allocation given to another worker",
        "relayed address closed",
    }
)
"""What is written whatever its rate."""

_SUMMARY = "lines not logged"
_OTHERS = "others"


class LogFloods:
    """A structlog processor; ``summarize`` logs a summary, and ``clock`` is monotonic seconds.

    Lines at the level debug are asked for, and all written.
    """

    def __init__(
        self, summarize: Callable[[str, str, int], None], clock: Callable[[], float]
    ) -> None:
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
        if method == "debug" or text in EVERY_LINE or text == _SUMMARY:
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
