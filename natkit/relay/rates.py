"""Token buckets: how many bytes of data may pass in each direction, for a user and for all."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Bucket", "Rates", "TokenBucket", "burst_of", "pass_through"]

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


class TokenBucket:
    """Lets ``rate`` bytes a second pass, of which it saves up those of one second.

    Times are monotonic seconds.  The rate may be set anew while the bucket is in use.
    """

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._tokens: float = self.burst
        self._at = float("-inf")

    @property
    def rate(self) -> int:
        """Bytes a second."""
        return self._rate

    @rate.setter
    def rate(self, rate: int) -> None:
        self._rate = rate
        self._tokens = min(self._tokens, self.burst)

    @property
    def burst(self) -> int:
        """Bytes that may pass at once after a pause."""
        return burst_of(self._rate)

    def has(self, size: int, now: float) -> bool:
        """Whether ``size`` bytes may pass now."""
        if now > self._at:
            self._tokens = min(self._tokens + (now - self._at) * self._rate, self.burst)
            self._at = now
        return self._tokens >= size

    def take(self, size: int) -> None:
        """They passed."""
        self._tokens -= size


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
