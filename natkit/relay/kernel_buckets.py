"""Bandwidths that a program in the kernel keeps to as well: buckets in one of its tables."""

from typing import Protocol

from natkit.relay.kernel_tables import KernelTables, Numbers
from natkit.relay.rates import BUCKET_WORDS, TokenBucket

__all__ = ["KernelBucket", "KernelBuckets", "Places"]


class KernelBucket(TokenBucket):
    """One of which the program draws; ``number`` is its number there."""

    __slots__ = ("number", "place")

    def __init__(self, tables: KernelTables, place: int, direction: int, rate: int) -> None:
        self.place = place
        # None has number 0.
        self.number = 1 + 2 * place + direction
        super().__init__(rate, tables.buckets, self.number * BUCKET_WORDS)


class Places(Protocol):
    """Gives every name that has buckets a place of its own."""

    def open(self, name: str, /) -> tuple[int, bool] | None:
        """Its place, and whether nobody else has the name open; None when there is none left."""
        ...

    def shut(self, name: str, place: int, /) -> None:
        """It is not needed here any more."""
        ...


class _OwnPlaces:
    """Those of a process that opens each name once, and has all places."""

    def __init__(self, count: int) -> None:
        self._numbers = Numbers(0, count)

    def open(self, _: str, /) -> tuple[int, bool] | None:
        place = self._numbers.take()
        return None if place is None else (place, True)

    def shut(self, _: str, place: int, /) -> None:
        self._numbers.give_back(place)


class KernelBuckets:
    """Hands out buckets by name, two for each: of what passes to peers, and to clients.

    Where there is no place left they are in user space alone, which then has all that they limit.
    """

    def __init__(self, tables: KernelTables, places: Places | None = None) -> None:
        self._tables = tables
        self._places = places or _OwnPlaces(tables.bucket_places)

    def open(self, name: str, rate: int, /) -> tuple[TokenBucket, TokenBucket]:
        """The buckets of a name, for ``rate`` bytes a second; full ones, unless others have it."""
        found = self._places.open(name)
        if found is None:
            return TokenBucket(rate), TokenBucket(rate)
        place, is_new = found
        to_peers, to_clients = (KernelBucket(self._tables, place, way, rate) for way in range(2))
        if is_new:
            to_peers.fill()
            to_clients.fill()
        return to_peers, to_clients

    def shut(self, name: str, pair: tuple[object, object], /) -> None:
        """They are in use here no more."""
        bucket = pair[0]
        if isinstance(bucket, KernelBucket):
            self._places.shut(name, bucket.place)
