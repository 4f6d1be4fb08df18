"""A table in memory that the processes of one server share: a row for each name that is in it.

Each process has a cell of its own in every row and writes no other's.  Reading takes no lock and no
system call; writing locks the name's bucket alone, by a record lock, which the system releases when
its holder dies.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import ClassVar, Self

from natkit.errors import MisuseError

__all__ = ["SLOTS", "SharedTable", "buckets_for"]

HEADER = struct.Struct("=4sHHII16s")
_DIGEST = 16
_FREE = bytes(_DIGEST)
_COUNT = struct.Struct("=i")
CELL = _COUNT.size
PAGE = 4096

SLOTS = 64
"""Names that share a bucket, which is searched as a whole."""

# With a quarter of the slots in use that one of the buckets is full is as good as impossible, and
# whoever chooses the names cannot choose the bucket, for the key is secret.
_SPARE = 4


def buckets_for(names: int) -> int:
    """How many buckets a table has that is made for so many names at one time."""
    return max(1, -(-names * _SPARE // SLOTS))


class SharedTable:
    """Rows by name, in all processes of a server; a row is free when its cells are all zero.

    A row begins with ``EXTRA`` bytes that all share, and has a cell of 4 bytes for each process
    after them.  ``worker`` is the number of this process; None for who only looks and clears.
    """

    MAGIC: ClassVar[bytes]
    EXTRA: ClassVar[int] = 0

    def __init__(self, descriptor: int, worker: int | None = None) -> None:
        """Attach to what :meth:`create` made; the descriptor is this object's from now on."""
        self.descriptor = descriptor
        self._worker = worker
        header: tuple[bytes, int, int, int, int, bytes] = HEADER.unpack(
            os.pread(descriptor, HEADER.size, 0)
        )
        magic, self._workers, _, self._buckets, _, self._key = header
        if magic != self.MAGIC or (worker is not None and not 0 <= worker < self._workers):
            raise MisuseError(f"this is no table of a worker {worker}")
        self._row_size = self.EXTRA + self._workers * CELL
        self._cells = struct.Struct(f"={self._workers}i")
        self._memory = mmap.mmap(descriptor, self._size(self._buckets, self._workers))

    @classmethod
    def create(cls, *, names: int, workers: int) -> Self:
        """A new one, all zero, for that many names at one time."""
        buckets = buckets_for(names)
        descriptor = os.memfd_create(f"natkit-{cls.__name__}")
        os.ftruncate(descriptor, cls._size(buckets, workers))
        header = HEADER.pack(cls.MAGIC, workers, SLOTS, buckets, names, os.urandom(16))
        os.pwrite(descriptor, header, 0)
        return cls(descriptor)

    def forget(self, worker: int) -> None:
        """Clear the cells of a process that is gone."""
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

    def _own(self) -> int:
        if self._worker is None:
            raise MisuseError("who is no worker holds nothing")
        return self._worker

    def _place(self, name: str) -> tuple[int, bytes]:
        """The bucket of a name, and what stands there for it."""
        digest = blake2b(name.encode(), digest_size=_DIGEST, key=self._key).digest()
        if digest == _FREE:
            digest = b"\x01" * _DIGEST
        return int.from_bytes(digest[:4], "little") % self._buckets, digest

    def _find(self, bucket: int, digest: bytes) -> int | None:
        """The slot of a name that is in the table."""
        start = self._start(bucket)
        end = start + SLOTS * _DIGEST
        found = self._memory.find(digest, start, end)
        # A match across two slots is none.
        while found >= 0 and (found - start) % _DIGEST:
            found = self._memory.find(digest, found + 1, end)
        return None if found < 0 else (found - start) // _DIGEST

    def _claim(self, bucket: int, digest: bytes) -> int | None:
        """A free slot for a name that is in none; None when the bucket is full."""
        slot = self._find(bucket, _FREE)
        if slot is not None:
            start = self._start(bucket) + slot * _DIGEST
            self._memory[start : start + _DIGEST] = digest
        return slot

    def _free_if_empty(self, bucket: int, slot: int) -> None:
        if not any(self._row(bucket, slot)):
            start = self._start(bucket) + slot * _DIGEST
            self._memory[start : start + _DIGEST] = _FREE

    def _add_at(self, place: int, count: int) -> None:
        held: int = _COUNT.unpack_from(self._memory, place)[0]
        # In one go, for who reads it beside: pack_into() has zeros there first.
        self._memory[place : place + _COUNT.size] = _COUNT.pack(held + count)

    def _start(self, bucket: int) -> int:
        return PAGE + bucket * SLOTS * (_DIGEST + self._row_size)

    def _extra(self, bucket: int, slot: int) -> int:
        """Where the part of a row is that all share."""
        return self._start(bucket) + SLOTS * _DIGEST + slot * self._row_size

    def _cell(self, bucket: int, slot: int, worker: int) -> int:
        return self._extra(bucket, slot) + self.EXTRA + worker * CELL

    def _row(self, bucket: int, slot: int) -> tuple[int, ...]:
        return self._cells.unpack_from(self._memory, self._cell(bucket, slot, 0))

    @contextmanager
    def _locked(self, bucket: int) -> Iterator[None]:
        start = self._start(bucket)
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, start)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, start)

    @classmethod
    def _size(cls, buckets: int, workers: int) -> int:
        return PAGE + buckets * SLOTS * (_DIGEST + cls.EXTRA + workers * CELL)
