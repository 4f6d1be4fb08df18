"""When a new transaction may begin: Ta of one agent, and the floor of the whole process."""

from typing import Final

FLOOR: Final = 0.005
"""Seconds between any two new transactions of one endpoint, of all agents (RFC 8445 §14.2)."""


class Pacer:
    """Gives out the times at which transactions may begin, ``interval`` seconds apart.

    One object is shared by all the agents and gatherers of a process.  Each asks for one time when
    it is due, uses or wastes it, and asks again: so they take turns, and nobody wakes for
    another's.
    """

    __slots__ = ("_next", "interval")

    def __init__(self, interval: float = FLOOR) -> None:
        self.interval = interval
        self._next = 0.0

    def reserve(self, now: float) -> float:
        """The first free time from ``now`` on, in monotonic seconds; it is the caller's alone."""
        slot = max(now, self._next)
        self._next = slot + self.interval
        return slot
