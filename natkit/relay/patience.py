"""How much of a plane's time requests may have: a flood of them must not be the end of relaying.

Requests are answered by the machine above, which takes as long for one as to relay ten packets or
more.  Their share of the time, not of the packets, is limited, so that it is right on a fast
processor and on a slow one; and only while more waits than there is time for, so that what others
leave is theirs too.
"""

__all__ = [
    "OF_CLIENTS",
    "OF_GREETINGS",
    "OF_ONE_NETWORK",
    "OF_STRANGERS",
    "NetworksPatience",
    "Patience",
]

OF_GREETINGS = 0.25
"""Share of the time of the challenges to clients who have no allocation."""

OF_STRANGERS = 0.25
"""Share of the time of all else that they send."""

OF_CLIENTS = 0.3
"""Share of the time of the requests of clients who have one."""

OF_ONE_NETWORK = 0.15
"""Share of the time of the requests that come from one network, as sources are counted."""

LONGEST = 0.1
"""Seconds that they may have at once after a pause: the first requests of some thousand clients."""

WINDOW = 0.05
"""Seconds over which the time of one network is counted."""

_OF_WINDOW = OF_ONE_NETWORK * WINDOW


class Patience:
    """Time that is left for some; seconds by one clock, which may be read seldom."""

    __slots__ = ("_at", "_left", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._left = LONGEST
        self._at = float("-inf")

    def has_time(self, now: float) -> bool:
        """Whether they may be heard at ``now``."""
        if now > self._at:
            self._left = min(self._left + (now - self._at) * self._share, LONGEST)
            self._at = now
        return self._left > 0

    def spend(self, seconds: float) -> None:
        """They were heard for so long, while others waited."""
        self._left -= seconds


class NetworksPatience:
    """Time that is left for each network.

    It is given as its part of an address (:data:`natkit.net.sockaddr.NETWORK`).  The table has a
    place for each that was heard in a window, so the time that they take bounds it.
    """

    __slots__ = ("_spent", "_window")

    def __init__(self) -> None:
        self._window = -1
        self._spent: dict[bytes, float] = {}

    def has_time(self, network: bytes, now: float) -> bool:
        """Whether ``network`` may be heard."""
        window = int(now / WINDOW)
        if window != self._window:
            self._window = window
            self._spent.clear()
        return self._spent.get(network, 0.0) < _OF_WINDOW

    def spend(self, network: bytes, seconds: float) -> None:
        """It was heard for so long, while others waited."""
        self._spent[network] = self._spent.get(network, 0.0) + seconds
