"""Bandwidths by name that the processes of one server keep to together, in memory that they share.

Tokens are kept in buckets that all processes draw from.  A process draws some more than it needs
right now, so that a packet seldom costs a lock; what it has drawn and not used is less than
:data:`LEASE` seconds' worth, which others lack until it is used.
"""

import struct
from typing import ClassVar

from natkit.relay.rates import burst_of
from natkit.server.shared_table import SharedTable

__all__ = ["LEASE", "SharedBucket", "SharedRates"]

LEASE = 0.05
"""Seconds: what passes in them is drawn at once, if it is there."""

# Seconds in which an empty bucket is not asked again: a flood beyond the rate costs few locks.
_PAUSE = 0.002

_TOKENS = struct.Struct("=dd")

_NEVER = float("-inf")


class SharedBucket:
    """A :class:`~natkit.relay.rates.Bucket` whose tokens are those of all processes together."""

    __slots__ = ("_drawn", "_not_before", "_place", "_table", "rate")

    def __init__(self, table: "SharedRates", place: tuple[int, int, int], rate: int) -> None:
        self.rate = rate
        """Bytes a second."""
        self._table = table
        self._place = place
        self._drawn: float = 0.0
        self._not_before = _NEVER

    def has(self, size: int, now: float) -> bool:
        """Whether ``size`` bytes may pass now."""
        if self._drawn >= size:
            return True
        if now < self._not_before:
            return False
        missing = size - self._drawn
        self._drawn += self._table.draw(self._place, self.rate, missing, now)
        if self._drawn >= size:
            return True
        self._not_before = now + _PAUSE
        return False

    def take(self, size: int) -> None:
        """They passed."""
        self._drawn -= size

    def give_back(self) -> None:
        """What was drawn is not needed any more."""
        self._table.put(self._place, self._drawn)
        self._drawn = 0.0


class SharedRates(SharedTable):
    """Two buckets for each name, as long as a process has it open."""

    MAGIC: ClassVar[bytes] = b"nkR1"
    EXTRA: ClassVar[int] = 2 * _TOKENS.size

    def open(self, name: str, rate: int) -> tuple[SharedBucket, SharedBucket] | None:
        """The buckets of a name, which are full when no process had them; None without room."""
        worker = self._own()
        bucket, digest = self._place(name)
        with self._locked(bucket):
            slot = self._find(bucket, digest)
            if slot is None:
                slot = self._claim(bucket, digest)
                if slot is None:
                    return None
                start = self._extra(bucket, slot)
                for number in range(2):
                    _TOKENS.pack_into(
                        self._memory, start + number * _TOKENS.size, burst_of(rate), _NEVER
                    )
            self._add_at(self._cell(bucket, slot, worker), 1)
        first, second = (SharedBucket(self, (bucket, slot, number), rate) for number in range(2))
        return first, second

    def shut(self, name: str, buckets: tuple[SharedBucket, SharedBucket]) -> None:
        """This process has no use for them any more."""
        for each in buckets:
            each.give_back()
        bucket, digest = self._place(name)
        with self._locked(bucket):
            slot = self._find(bucket, digest)
            if slot is not None:
                self._add_at(self._cell(bucket, slot, self._own()), -1)
                self._free_if_empty(bucket, slot)

    def draw(self, place: tuple[int, int, int], rate: int, least: float, now: float) -> float:
        """Take ``least`` tokens or more out of a bucket; 0 when there are fewer."""
        bucket, slot, number = place
        where = self._extra(bucket, slot) + number * _TOKENS.size
        with self._locked(bucket):
            tokens: float
            at: float
            tokens, at = _TOKENS.unpack_from(self._memory, where)
            if now > at:
                # The first one finds it full.
                saved = (now - at) * rate if at > _NEVER else 0.0
                tokens, at = min(tokens + saved, burst_of(rate)), now
            drawn = min(tokens, max(least, rate * LEASE)) if tokens >= least else 0.0
            _TOKENS.pack_into(self._memory, where, tokens - drawn, at)
        return drawn

    def put(self, place: tuple[int, int, int], tokens: float) -> None:
        """Put unused tokens back; what is more than the bucket holds goes at the next draw."""
        bucket, slot, number = place
        where = self._extra(bucket, slot) + number * _TOKENS.size
        with self._locked(bucket):
            held: float
            at: float
            held, at = _TOKENS.unpack_from(self._memory, where)
            _TOKENS.pack_into(self._memory, where, held + tokens, at)
