"""A number for each name that processes of one server have open, the same in all of them."""

from typing import ClassVar

from natkit.server.shared_table import SLOTS, SharedTable, buckets_for

__all__ = ["SharedPlaces", "places_for"]


def places_for(names: int) -> int:
    """How many numbers there are in a table that is made for so many names at one time."""
    return buckets_for(names) * SLOTS


class SharedPlaces(SharedTable):
    """Places below :func:`places_for`, each a name's as long as a process has the name open."""

    MAGIC: ClassVar[bytes] = b"nkP1"

    def open(self, name: str) -> tuple[int, bool] | None:
        """The place of a name, and whether no process had it; None without room."""
        worker = self._own()
        bucket, digest = self._place(name)
        with self._locked(bucket):
            found = self._find(bucket, digest)
            slot = self._claim(bucket, digest) if found is None else found
            if slot is None:
                return None
            self._add_at(self._cell(bucket, slot, worker), 1)
        return bucket * SLOTS + slot, found is None

    def shut(self, _: str, place: int) -> None:
        """This process has no use for it any more."""
        bucket, slot = divmod(place, SLOTS)
        with self._locked(bucket):
            self._add_at(self._cell(bucket, slot, self._own()), -1)
            self._free_if_empty(bucket, slot)
