"""Which server holds whose registration, so that later requests go there first."""

from collections import OrderedDict
from typing import Final

from natkit.locate import Target

__all__ = ["Affinity"]

MOST_OWNERS: Final = 100_000
"""Registrations remembered, some 50 MB; the one that was renewed the longest ago makes room."""


class Affinity:
    """The server that accepted a registration, by its owner, for as long as that lasts.

    It is for :class:`sipdns.failover.Failover` as ``preferred``, which follows it only while the
    DNS offers that server and it does not fail.  ``owner`` is the address of record, in one form.
    All ``now`` are seconds of one monotonic clock.
    """

    def __init__(self, *, most_owners: int = MOST_OWNERS) -> None:
        self._most = most_owners
        self._rows: OrderedDict[str, tuple[Target, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def remember(self, owner: str, target: Target, expires_at: float) -> None:
        """``target`` accepted a registration that lasts until ``expires_at``."""
        self._rows.pop(owner, None)
        self._rows[owner] = target, expires_at
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)

    def recall(self, owner: str, now: float) -> Target | None:
        """The server of the registration that is still good."""
        row = self._rows.get(owner)
        if row is None:
            return None
        if now >= row[1]:
            del self._rows[owner]
            return None
        return row[0]

    def forget(self, owner: str) -> None:
        """The registration is gone."""
        self._rows.pop(owner, None)
