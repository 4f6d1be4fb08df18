"""Token buckets: how many bytes of data may pass in each direction, for a user and for all."""

from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from natkit.relay.source_memory import Words

__all__ = [
    "BUCKET_WORDS",
    "Bucket",
    "BucketWord",
    "Rates",
    "TokenBucket",
    "burst_of",
    "pass_through",
]

SMALLEST_BURST = 1 << 16
"""Bytes that a bucket holds at least: no datagram is larger, so none waits for ever."""


def burst_of(rate: int) -> int:
    """Bytes that may pass at once after a pause, where ``rate`` bytes a second may pass."""
    return max(rate, SMALLEST_BURST)


class Bucket(Protocol):
    """What limits bytes a second; times are monotonic seconds."""

    rate: int
    """Bytes a second; it may be set anew while the bucket is in use."""

    def has(self, size: int, now: float, /) -> bool:
        """Whether ``size`` bytes may pass now."""
        ...

    def take(self, size: int, /) -> None:
        """They passed, as :meth:`has` allowed."""
        ...


class BucketWord(IntEnum):
    """Which word of a bucket's memory has what."""

    FULL_AT = 0
    """Nanoseconds: when all will be there that it may save up."""
    RATE = 1
    """Bytes a second."""
    BURST = 2
    """Nanoseconds in which an empty one fills."""


BUCKET_WORDS = 4
"""Of 64 bits each; the last one is not used."""

_FULL_AT, _RATE, _BURST = int(BucketWord.FULL_AT), int(BucketWord.RATE), int(BucketWord.BURST)
_NANOSECONDS = 1_000_000_000
# More than any wire has, and still to be calculated with in 64 bits.
_HIGHEST_RATE = 1 << 62


class TokenBucket:
    """Lets ``rate`` bytes a second pass, of which it saves up those of one second.

    Times are monotonic seconds.  The rate may be set anew while the bucket is in use: it is then as
    full as before, in parts of what it holds.

    What is missing is kept as the time that it takes to come back, so that all that changes is one
    word of ``memory``, which begins at ``start`` there.  Others may draw of the same memory, as
    ``relay.bpf.c`` does; what passes at one of them in the moment that another needs to write may
    then not be counted.
    """

    __slots__ = ("_burst_at", "_full_at", "_memory", "_now", "_rate_at")

    def __init__(self, rate: int, memory: Words | None = None, start: int = 0) -> None:
        self._memory = array("Q", bytes(8 * BUCKET_WORDS)) if memory is None else memory
        self._full_at, self._rate_at, self._burst_at = (
            start + word for word in (_FULL_AT, _RATE, _BURST)
        )
        self._now = 0
        self.rate = rate

    @property
    def rate(self) -> int:
        """Bytes a second."""
        return self._memory[self._rate_at]

    @rate.setter
    def rate(self, rate: int) -> None:
        rate = min(rate, _HIGHEST_RATE)
        self._memory[self._rate_at] = rate
        self._memory[self._burst_at] = burst_of(rate) * _NANOSECONDS // rate

    @property
    def burst(self) -> int:
        """Bytes that may pass at once after a pause."""
        return burst_of(self.rate)

    def fill(self) -> None:
        """Have all that it may save up."""
        self._memory[self._full_at] = 0

    def has(self, size: int, now: float) -> bool:
        """Whether ``size`` bytes may pass now."""
        self._now = at = int(now * _NANOSECONDS)
        latest = at + self._memory[self._burst_at]
        return self._full_from(at, latest) + self._time_for(size) <= latest

    def take(self, size: int) -> None:
        """They passed."""
        memory = self._memory
        latest = self._now + memory[self._burst_at]
        memory[self._full_at] = self._full_from(self._now, latest) + self._time_for(size)

    def _full_from(self, now: int, latest: int) -> int:
        """When it will be full: never before now, nor later than an empty one."""
        full_at = self._memory[self._full_at]
        return now if full_at < now else min(full_at, latest)

    def _time_for(self, size: int) -> int:
        """In which so many bytes come back."""
        return size * _NANOSECONDS // self._memory[self._rate_at]


@dataclass(frozen=True, slots=True)
class Rates:
    """The buckets of an allocation, by direction; others may share each."""

    to_peers: tuple[Bucket, ...]
    to_clients: tuple[Bucket, ...]


def pass_through(buckets: tuple[Bucket, ...], size: int, now: float) -> bool:
    """Whether ``size`` bytes pass all of them; only then is anything taken."""
    for bucket in buckets:
        if not bucket.has(size, now):
            return False
    for bucket in buckets:
        bucket.take(size)
    return True
