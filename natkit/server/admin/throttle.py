"""How often one source may do what costs something: a token bucket for each, in bounded memory."""

from dataclasses import dataclass

from natkit.address import Address, Family

__all__ = ["MAX_SOURCES", "Throttle"]

MAX_SOURCES = 4_096
"""Sources that are remembered; where there are more, all of the others share one bucket."""

_IPV6_PREFIX = 7
"""Bytes of an IPv6 address that are one source: a /56, what one customer has to choose from."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    since: float


class Throttle:
    """Allows each source ``burst`` at once and then one every ``interval`` seconds.

    ``now`` is monotonic seconds.
    """

    def __init__(self, burst: int, interval: float) -> None:
        self._burst = float(burst)
        self._interval = interval
        self._buckets: dict[bytes, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, host: str, now: float) -> bool:
        """Whether ``host``, a literal, may go on; if so it has been counted."""
        bucket = self._bucket(_source(host), now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.since) / self._interval)
        bucket.since = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def wait(self, host: str, now: float) -> float:
        """Seconds until ``host`` is allowed again."""
        bucket = self._bucket(_source(host), now)
        tokens = min(self._burst, bucket.tokens + (now - bucket.since) / self._interval)
        return max(0.0, (1 - tokens) * self._interval)

    def _bucket(self, source: bytes, now: float) -> _Bucket:
        found = self._buckets.get(source)
        if found is not None:
            return found
        if len(self._buckets) >= MAX_SOURCES:
            self._forget_full(now)
        if len(self._buckets) >= MAX_SOURCES:
            source = b""
        return self._buckets.setdefault(source, _Bucket(self._burst, now))

    def _forget_full(self, now: float) -> None:
        """Forget those that are as if they had never come."""
        whole = self._burst * self._interval
        self._buckets = {
            source: bucket for source, bucket in self._buckets.items() if now - bucket.since < whole
        }


def _source(host: str) -> bytes:
    packed = Address.of(host, 0)
    return packed.packed[:_IPV6_PREFIX] if packed.family is Family.IPV6 else packed.packed
