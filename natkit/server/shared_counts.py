"""Counts by name that the processes of one server keep together, in memory that they share.

Each process has a cell of its own for each name and writes no other, so a process that dies takes
nothing with it but what it held: :meth:`SharedCounts.forget` clears its cells.  Reading takes no
lock and no system call; writing locks the name's bucket alone, by a record lock, which the system
releases when its holder dies.

Asking and then adding are two steps.  Two processes that do both at the same moment can both take
what was left for one: a limit is passed by one for each other process at most.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Self

from natkit.errors import MisuseError

__all__ = ["SharedCounts"]

_HEADER = struct.Struct("=4sHHII16s")
_MAGIC = b"nkC1"
_DIGEST = 16
_FREE = bytes(_DIGEST)
_CELL = 4
_PAGE = 4096

SLOTS = 64
"""Names that share a bucket, which is searched as a whole."""

# With a quarter of the slots in use that one of the buckets is full is as good as impossible, and
# whoever chooses the names cannot choose the bucket, for the key is secret.
_SPARE = 4


class SharedCounts:
    """How many of something each name holds, in all processes of a server.

    ``worker`` is the number of this process; None for who only looks and clears.
    """

    def __init__(self, descriptor: int, worker: int | None = None) -> None:
        """Attach to what :meth:`create` made; the descriptor is this object's from now on."""
        self.descriptor = descriptor
        self._worker = worker
        header: tuple[bytes, int, int, int, int, bytes] = _HEADER.unpack(
            os.pread(descriptor, _HEADER.size, 0)
        )
        magic, self._workers, _, self._buckets, _, self._key = header
        if magic != _MAGIC or (worker is not None and not 0 <= worker < self._workers):
            raise MisuseError(f"these are no counts of a worker {worker}")
        self._memory = mmap.mmap(descriptor, _size(self._buckets, self._workers))
        # What did not fit in a bucket; counted in this process alone.
        self._overflow: dict[str, int] = {}

    @classmethod
    def create(cls, *, names: int, workers: int) -> Self:
        """New counts, all zero, for that many names that hold something at one time."""
        buckets = max(1, -(-names * _SPARE // SLOTS))
        descriptor = os.memfd_create("natkit-counts")
        os.ftruncate(descriptor, _size(buckets, workers))
        header = _HEADER.pack(_MAGIC, workers, SLOTS, buckets, names, os.urandom(16))
        os.pwrite(descriptor, header, 0)
        return cls(descriptor)

    def of(self, name: str) -> int:
        """How many ``name`` holds."""
        bucket, digest = self._place(name)
        slot = self._find(bucket, digest)
        held = 0 if slot is None else sum(self._row(bucket, slot))
        return held + self._overflow.get(name, 0)

    def in_all(self) -> int:
        """How many all names hold together."""
        return sum(struct.unpack_from(f"={self._workers}i", self._memory, _HEADER.size))

    def add(self, name: str, count: int) -> None:
        """Count ``count`` more for this process, or fewer when it is negative."""
        worker = self._worker
        if worker is None:
            raise MisuseError("who is no worker holds nothing")
        bucket, digest = self._place(name)
        with self._locked(bucket):
            if not self._add_in(bucket, digest, worker, count, is_here=name in self._overflow):
                held = self._overflow.pop(name, 0) + count
                if held:
                    self._overflow[name] = held
        self._add_at(_HEADER.size + worker * _CELL, count)

    def forget(self, worker: int) -> None:
        """Clear what a process held that is gone."""
        struct.pack_into("=i", self._memory, _HEADER.size + worker * _CELL, 0)
        for bucket in range(self._buckets):
            start = self._start(bucket)
            if not any(self._memory[start : start + SLOTS * _DIGEST]):
                continue
            with self._locked(bucket):
                for slot in range(SLOTS):
                    digest = start + slot * _DIGEST
                    if self._memory[digest : digest + _DIGEST] == _FREE:
                        continue
                    struct.pack_into("=i", self._memory, self._cell(bucket, slot, worker), 0)
                    self._free_if_empty(bucket, slot)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def _add_in(
        self, bucket: int, digest: bytes, worker: int, count: int, *, is_here: bool
    ) -> bool:
        """Count in the bucket; False when the name is one of those that it has no slot for."""
        slot = None if is_here else self._find(bucket, digest)
        if slot is None:
            if is_here or (slot := self._find(bucket, _FREE)) is None:
                return False
            start = self._start(bucket) + slot * _DIGEST
            self._memory[start : start + _DIGEST] = digest
        self._add_at(self._cell(bucket, slot, worker), count)
        self._free_if_empty(bucket, slot)
        return True

    def _add_at(self, place: int, count: int) -> None:
        held: int = struct.unpack_from("=i", self._memory, place)[0]
        struct.pack_into("=i", self._memory, place, held + count)

    def _free_if_empty(self, bucket: int, slot: int) -> None:
        if not any(self._row(bucket, slot)):
            start = self._start(bucket) + slot * _DIGEST
            self._memory[start : start + _DIGEST] = _FREE

    def _place(self, name: str) -> tuple[int, bytes]:
        """The bucket of a name, and what stands there for it."""
        digest = blake2b(name.encode(), digest_size=_DIGEST, key=self._key).digest()
        if digest == _FREE:
            digest = b"\x01" * _DIGEST
        return int.from_bytes(digest[:4], "little") % self._buckets, digest

    def _find(self, bucket: int, digest: bytes) -> int | None:
        start = self._start(bucket)
        end = start + SLOTS * _DIGEST
        found = self._memory.find(digest, start, end)
        # A match across two slots is none.
        while found >= 0 and (found - start) % _DIGEST:
            found = self._memory.find(digest, found + 1, end)
        return None if found < 0 else (found - start) // _DIGEST

    def _start(self, bucket: int) -> int:
        return _PAGE + bucket * _bucket_size(self._workers)

    def _cell(self, bucket: int, slot: int, worker: int) -> int:
        return self._start(bucket) + SLOTS * _DIGEST + (slot * self._workers + worker) * _CELL

    def _row(self, bucket: int, slot: int) -> tuple[int, ...]:
        return struct.unpack_from(f"={self._workers}i", self._memory, self._cell(bucket, slot, 0))

    @contextmanager
    def _locked(self, bucket: int) -> Iterator[None]:
        start = self._start(bucket)
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, start)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, start)


def _bucket_size(workers: int) -> int:
    return SLOTS * (_DIGEST + workers * _CELL)


def _size(buckets: int, workers: int) -> int:
    return _PAGE + buckets * _bucket_size(workers)
