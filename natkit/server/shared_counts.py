"""Counts by name that the processes of one server keep together, in memory that they share.

A process that dies takes nothing with it but what it held: :meth:`SharedCounts.forget` clears its
cells.

Asking and then adding are two steps.  Two processes that do both at the same moment can both take
what was left for one: a limit is passed by one for each other process at most.
"""

import struct
from typing import ClassVar

from natkit.server.shared_table import CELL, HEADER, SLOTS, SharedTable

__all__ = ["SLOTS", "SharedCounts"]


class SharedCounts(SharedTable):
    """How many of something each name holds, in all processes of a server."""

    MAGIC: ClassVar[bytes] = b"nkC1"

    def __init__(self, descriptor: int, worker: int | None = None) -> None:
        """Attach to what :meth:`create` made; the descriptor is this object's from now on."""
        super().__init__(descriptor, worker)
        # What did not fit in a bucket; counted in this process alone.
        self._overflow: dict[str, int] = {}

    def of(self, name: str) -> int:
        """How many ``name`` holds."""
        bucket, digest = self._place(name)
        slot = self._find(bucket, digest)
        held = 0 if slot is None else sum(self._row(bucket, slot))
        return held + self._overflow.get(name, 0)

    def in_all(self) -> int:
        """How many all names hold together."""
        return sum(self._cells.unpack_from(self._memory, HEADER.size))

    def add(self, name: str, count: int) -> None:
        """Count ``count`` more for this process, or fewer when it is negative."""
        worker = self._own()
        bucket, digest = self._place(name)
        with self._locked(bucket):
            if not self._add_in(bucket, digest, worker, count, is_here=name in self._overflow):
                held = self._overflow.pop(name, 0) + count
                if held:
                    self._overflow[name] = held
        self._add_at(HEADER.size + worker * CELL, count)

    def forget(self, worker: int) -> None:
        """Clear what a process held that is gone."""
        struct.pack_into("=i", self._memory, HEADER.size + worker * CELL, 0)
        super().forget(worker)

    def _add_in(
        self, bucket: int, digest: bytes, worker: int, count: int, *, is_here: bool
    ) -> bool:
        """Count in the bucket; False when the name is one of those that it has no slot for."""
        slot = None if is_here else self._find(bucket, digest)
        if slot is None and (is_here or (slot := self._claim(bucket, digest)) is None):
            return False
        self._add_at(self._cell(bucket, slot, worker), count)
        self._free_if_empty(bucket, slot)
        return True
