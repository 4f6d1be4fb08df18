"""How much of a plane's time strangers may have: a flood of theirs must not be the end of relaying.

What strangers ask for is answered by the machine above, which takes several times as long as to
relay a packet.  Their share of the time, not of the packets, is limited, so that it is right on a
fast processor and on a slow one.
"""

__all__ = ["Patience"]

SHARE = 0.5
"""Of the time, for all strangers together; what they leave of it is everybody's."""

LONGEST = 0.1
"""Seconds that they may have at once after a pause: the first requests of some thousand clients."""


class Patience:
    """Time that is left for strangers; seconds by one clock, which may be read seldom."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = LONGEST
        self._at = float("-inf")

    def has_time(self, now: float) -> bool:
        """Whether strangers may be heard at ``now``."""
        if now > self._at:
            self._left = min(self._left + (now - self._at) * SHARE, LONGEST)
            self._at = now
        return self._left > 0

    def spend(self, seconds: float) -> None:
        """They were heard for so long."""
        self._left -= seconds
