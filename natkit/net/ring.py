"""Messages from many sockets in one system call, where the system has ``io_uring(7)``.

Used for sending alone, and in the plainest way: what is submitted is sent within the call or fails
there, nothing is under way afterwards, and only failures are reported (since Linux 5.17).  Many
containers and some administrators forbid it; then there is no ring, and each socket has a call.
"""

import mmap
import os
import struct
import sys
import weakref
from array import array
from collections.abc import Sequence

from natkit.net.libc import Headers, RingPlaces, enter_ring, set_up_ring

__all__ = ["SendRing", "send_ring"]

# <linux/io_uring.h>
_ENTRIES_AT = 0x1000_0000
_ENTRY = struct.Struct("=BBHiQQIIQ24x")
_COMPLETION = struct.Struct("=QiI")
_SENDMSG = 9
_SKIP_SUCCESS = 1 << 6
_SINGLE_MMAP, _CQE_SKIP = 1 << 0, 1 << 11
_NEEDED = _SINGLE_MMAP | _CQE_SKIP

_WORD = 1 << 32


class SendRing:
    """Sends the messages of one place after the other, each from a socket of its own."""

    def __init__(self, places: RingPlaces, flags: int) -> None:
        self.capacity = places.submissions
        self._descriptor = places.descriptor
        weakref.finalize(self, os.close, places.descriptor)
        order_end = places.submission_order + 4 * places.submissions
        ring_end = places.first_completion + _COMPLETION.size * places.completions
        self._ring = _map(places.descriptor, max(order_end, ring_end), 0)
        self._words = memoryview(self._ring).cast("I")
        self._tail = places.submission_tail // 4
        first = places.submission_order // 4
        self._order = self._words[first : first + places.submissions]
        self._head_done, self._tail_done = places.completion_head // 4, places.completion_tail // 4
        self._first_done, self._done = places.first_completion, places.completions
        entries = _map(places.descriptor, _ENTRY.size * places.submissions, _ENTRIES_AT)
        for place in range(places.submissions):
            _ENTRY.pack_into(
                *(entries, place * _ENTRY.size),
                *(_SENDMSG, _SKIP_SUCCESS, 0, -1, 0, 0, 1, flags, place),
            )
        self._descriptors = memoryview(entries).cast("i")[1 :: _ENTRY.size // 4]
        self._addresses = memoryview(entries).cast("Q")[2 :: _ENTRY.size // 8]
        self._places = array("I", range(places.submissions))
        self._headers: Sequence[Headers] = ()

    def send(
        self, descriptors: Sequence[int], headers: Sequence[Headers]
    ) -> Sequence[tuple[int, int]]:
        """Send what the first of ``headers`` say, each from its descriptor, in order.

        Gives the places of those that failed, each with its error number; zero where it was not
        tried.
        """
        if headers is not self._headers:
            self._headers = headers
            addresses = [header.value or 0 for header in headers[: self.capacity]]
            self._addresses[: len(addresses)] = array("Q", addresses)
        count, words = len(descriptors), self._words
        self._descriptors[:count] = array("i", descriptors)
        tail = words[self._tail]
        first = tail % self.capacity
        before_end = min(count, self.capacity - first)
        self._order[first : first + before_end] = self._places[:before_end]
        self._order[: count - before_end] = self._places[before_end:count]
        words[self._tail] = (tail + count) % _WORD
        taken = max(enter_ring(self._descriptor, count), 0)
        failed = self._failures() if words[self._head_done] != words[self._tail_done] else []
        if taken != count:
            # Nobody else takes them later.
            words[self._tail] = (tail + taken) % _WORD
            failed += [(place, 0) for place in range(taken, count)]
        return failed

    def _failures(self) -> list[tuple[int, int]]:
        """Take what is reported."""
        words = self._words
        head, tail = words[self._head_done], words[self._tail_done]
        failed = []
        while head != tail:
            at = self._first_done + head % self._done * _COMPLETION.size
            place, result, _ = _COMPLETION.unpack_from(self._ring, at)
            failed.append((place, -result))
            head = (head + 1) % _WORD
        words[self._head_done] = head
        return failed


def send_ring(capacity: int, flags: int) -> SendRing | None:
    """A ring for up to so many messages at a time, or None where the system gives none."""
    if sys.platform != "linux":
        return None
    places = set_up_ring(capacity)
    if places is None:
        return None
    if places.features & _NEEDED != _NEEDED:
        os.close(places.descriptor)
        return None
    try:
        return SendRing(places, flags)
    except OSError:
        # No more memory or descriptors; there are other ways to send.
        return None


def _map(descriptor: int, size: int, offset: int) -> mmap.mmap:
    return mmap.mmap(
        descriptor,
        size,
        mmap.MAP_SHARED | mmap.MAP_POPULATE,
        mmap.PROT_READ | mmap.PROT_WRITE,
        offset=offset,
    )
