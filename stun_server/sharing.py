"""What the workers of one server know together, as each of their machines sees it.

A client's next allocation, or the peer that it wants to reach, may be at another worker.  Limits
hold for all workers together, and a live relayed address is this server's, whichever worker has it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from natkit.address import Address
from natkit.relay.rates import Bucket, TokenBucket

__all__ = ["Buckets", "Counts", "OwnBuckets", "OwnCounts", "Pair", "Sharing"]

Pair = tuple[Bucket, Bucket]
"""The buckets of a name: of what passes to peers, and to clients."""


class Counts(Protocol):
    """How many of something each name holds; never negative."""

    def of(self, name: str) -> int:
        """How many ``name`` holds."""
        ...

    def in_all(self) -> int:
        """How many all names hold together."""
        ...

    def add(self, name: str, count: int) -> None:
        """Count ``count`` more, or fewer when it is negative; fewer than this process added."""
        ...


class OwnCounts:
    """The :class:`Counts` of a process that serves alone; names that hold nothing take no room."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._in_all = 0

    def of(self, name: str) -> int:
        """How many ``name`` holds."""
        return self._held.get(name, 0)

    def in_all(self) -> int:
        """How many all names hold together."""
        return self._in_all

    def add(self, name: str, count: int) -> None:
        """Count ``count`` more, or fewer when it is negative."""
        self._in_all += count
        held = self._held.get(name, 0) + count
        if held:
            self._held[name] = held
        else:
            self._held.pop(name, None)


class Buckets(Protocol):
    """Makes bandwidths by name that all workers keep to together."""

    def open(self, name: str, rate: int, /) -> Pair:
        """The buckets of a name, for ``rate`` bytes a second."""
        ...

    def shut(self, name: str, pair: Pair, /) -> None:
        """They are in use here no more."""
        ...


class OwnBuckets:
    """The :class:`Buckets` of a process that serves alone."""

    def open(self, _: str, rate: int, /) -> Pair:
        """Full ones."""
        return TokenBucket(rate), TokenBucket(rate)

    def shut(self, name: str, pair: Pair, /) -> None:
        """Nobody else has them."""


def _nowhere(_: Address) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a machine asks about all workers; by default it is the only one.

    ``holdings`` counts allocations by account, those that are being opened and reserved ports among
    them, and ``holdings_of_realms`` the same by realm; ``permissions`` and ``channels`` count what
    allocations have, by account, until it is swept out, ``peer_connections`` those of TCP
    allocations, where the allocation is.  ``relays_elsewhere`` tells whether an address is relayed
    by another worker right now, ``relays_tcp_elsewhere`` the same of TCP.  ``buckets`` are those of
    the bandwidth of an account, and of the empty name for all.
    """

    holdings: Counts = field(default_factory=OwnCounts)
    relays_elsewhere: Callable[[Address], bool] = _nowhere
    holdings_of_realms: Counts = field(default_factory=OwnCounts)
    permissions: Counts = field(default_factory=OwnCounts)
    channels: Counts = field(default_factory=OwnCounts)
    peer_connections: Counts = field(default_factory=OwnCounts)
    relays_tcp_elsewhere: Callable[[Address], bool] = _nowhere
    buckets: Buckets = field(default_factory=OwnBuckets)
