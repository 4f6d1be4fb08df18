"""When a process that died is started again, and when that is given up."""

__all__ = ["CRASH_LOOP_DEATHS", "CRASH_LOOP_TIME", "LONGEST_PAUSE", "Restarts"]

CRASH_LOOP_DEATHS = 5
"""Deaths of one process within :data:`CRASH_LOOP_TIME` after which starting it again is no use."""

CRASH_LOOP_TIME = 60.0
"""Seconds."""

LONGEST_PAUSE = 8.0
"""Seconds between a death and the next start at most."""

_FIRST_PAUSE = 0.5


class Restarts:
    """The deaths of one process.  ``total`` counts them all."""

    def __init__(self) -> None:
        self.total = 0
        self._recent: list[float] = []

    def died(self, now: float) -> float | None:
        """It died: seconds until it is started again, or None when it is not.

        At once after the first death, for it leaves clients without service; then after pauses that
        double, until it has lived for a while.
        """
        self.total += 1
        self._recent = [each for each in self._recent if each > now - CRASH_LOOP_TIME] + [now]
        deaths = len(self._recent)
        if deaths >= CRASH_LOOP_DEATHS:
            return None
        return 0.0 if deaths == 1 else min(LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (deaths - 2))
