"""How many calls a user makes at once, and how often."""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import Final

from natkit.sip import HeaderField
from natkit.sip.kinds import RETRY_AFTER, RetryAfter
from sip_proxy.rejection import Rejection

__all__ = ["UserCalls"]

LARGEST_COUNT: Final = 100_000
"""Users that are remembered; where there are more, those who have not called for long are not."""

MINUTE: Final = 60.0


@dataclass(slots=True)
class _User:
    running: int = 0
    tokens: float = 0.0
    since: float = 0.0


class UserCalls:
    """Counts the calls of each user; 0 stands for any number.

    ``at_once``: calls that ring or go on.  ``per_minute``: new ones, as many at once and then one
    every so many seconds.
    """

    def __init__(self, at_once: int, per_minute: int) -> None:
        self._at_once = at_once
        self._per_minute = per_minute
        self._users: OrderedDict[str, _User] = OrderedDict()

    def configure(self, at_once: int, per_minute: int) -> None:
        """Allow so many from now on."""
        self._at_once = at_once
        self._per_minute = per_minute

    def __len__(self) -> int:
        return len(self._users)

    def begin(self, user: str, now: float) -> Rejection | None:
        """Another call of ``user``; what to refuse it by, or None, and it is counted."""
        if not user or not (self._at_once or self._per_minute):
            return None
        counted = self._counted(user, now)
        if self._at_once and counted.running >= self._at_once:
            return Rejection(403, f"{self._at_once} calls at once are the most of a user")
        if self._per_minute:
            gained = (now - counted.since) * self._per_minute / MINUTE
            counted.tokens = min(float(self._per_minute), counted.tokens + gained)
            counted.since = now
            if counted.tokens < 1:
                wait = ceil((1 - counted.tokens) * MINUTE / self._per_minute)
                field = HeaderField.of(RETRY_AFTER, RetryAfter(wait))
                return Rejection(480, f"More than {self._per_minute} calls a minute", [field])
            counted.tokens -= 1
        counted.running += 1
        return None

    def end(self, user: str) -> None:
        """A call that :meth:`begin` counted is over."""
        counted = self._users.get(user)
        if counted is not None and counted.running:
            counted.running -= 1

    def _counted(self, user: str, now: float) -> _User:
        found = self._users.get(user)
        if found is None:
            found = self._users[user] = _User(0, float(self._per_minute), now)
            if len(self._users) > LARGEST_COUNT:
                self._users.popitem(last=False)
        else:
            self._users.move_to_end(user)
        return found
