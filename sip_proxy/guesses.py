"""How often a source may be wrong about passwords before it is not heard for a while.

Two things are counted: the wrong answers of a source for one user, so that a phone with an old
password is stopped and its neighbours behind the same NAT are not; and those of a source for all
users together, so that going from name to name does not help.  The second never stops a source that
has been right about somebody lately: it is somebody's office.

Only answers to a challenge that was sent to that very address are to be told here, so that nobody
can have somebody else stopped by forging addresses.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from natkit.errors import MisuseError

__all__ = ["GuessSettings", "Guesses"]

_IPV6_PREFIX: Final = 8
"""Bytes of an IPv6 address that are one source: a /64, in which a host chooses its addresses."""

PROVEN: Final = 3_600.0
"""Seconds for which a source that was right about somebody counts as somebody's office."""


@dataclass(frozen=True, slots=True)
class GuessSettings:
    """When a source is stopped; times are in seconds.

    ``per_user`` and ``per_source`` are the wrong answers at once, after which one more is forgiven
    in each ``window`` divided by that number; 0 stops nobody.
    """

    per_user: int = 10
    per_source: int = 50
    window: float = 300.0
    blocked_for: float = 600.0
    largest_count: int = 20_000
    """Sources and pairs of source and user that are remembered; the oldest are forgotten first."""

    def __post_init__(self) -> None:
        if self.window <= 0 or self.blocked_for <= 0 or self.largest_count < 2:
            raise MisuseError("guesses are counted within some time, and in some room")


@dataclass(slots=True)
class _Tries:
    wrong: float = 0.0
    since: float = 0.0
    blocked_until: float = float("-inf")
    proven_until: float = float("-inf")


_Key = tuple[bytes, str | None]


class Guesses:
    """Counts by source and user; ``host`` is an IP address in network order, times are monotonic.

    The table is bounded, and who fills it only makes it forget.
    """

    def __init__(self, settings: GuessSettings) -> None:
        self._settings = settings
        self._tries: OrderedDict[_Key, _Tries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def configure(self, settings: GuessSettings) -> None:
        """Go by other settings from now on; who is stopped stays so."""
        self._settings = settings

    def wait(self, host: bytes, username: str, now: float) -> float:
        """Seconds for which this source is not heard about this user; 0 when it is."""
        source = _source(host)
        until = max(
            (
                tries.blocked_until
                for key in ((source, username), (source, None))
                if (tries := self._tries.get(key)) is not None
            ),
            default=now,
        )
        return max(0.0, until - now)

    def was_wrong(self, host: bytes, username: str, now: float) -> bool:
        """A wrong answer came; whether it was the one that stops the source."""
        source = _source(host)
        settings = self._settings
        of_user = self._counted((source, username), settings.per_user, now)
        of_all = self._counted((source, None), settings.per_source, now)
        return of_user or of_all

    def was_right(self, host: bytes, username: str, now: float) -> None:
        """A right answer came."""
        source = _source(host)
        self._tries.pop((source, username), None)
        self._at((source, None)).proven_until = now + PROVEN

    def _counted(self, key: _Key, most: int, now: float) -> bool:
        tries = self._at(key)
        forgiven = (now - tries.since) * most / self._settings.window
        tries.wrong = max(0.0, tries.wrong - forgiven) + 1
        tries.since = now
        if not most or tries.wrong < most or tries.proven_until > now:
            return False
        tries.wrong = 0.0
        tries.blocked_until = now + self._settings.blocked_for
        return True

    def _at(self, key: _Key) -> _Tries:
        tries = self._tries.get(key)
        if tries is None:
            tries = self._tries[key] = _Tries()
            while len(self._tries) > self._settings.largest_count:
                self._tries.popitem(last=False)
        else:
            self._tries.move_to_end(key)
        return tries


def _source(host: bytes) -> bytes:
    return host if len(host) == 4 else host[:_IPV6_PREFIX]
