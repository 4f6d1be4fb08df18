"""Whole batches of datagrams by ``recvmmsg`` and ``sendmmsg``, on Linux.

Datagrams alike are one message (:mod:`natkit.net.segmentation`); what goes to many sockets leaves
by one call where the system has rings (:mod:`natkit.net.ring`).
"""

import errno
import os
import socket
from array import array
from collections.abc import Sequence

from natkit.errors import MisuseError
from natkit.net.libc import (
    Headers,
    MessageVector,
    RunVector,
    address_of,
    last_error,
    recvmmsg,
    sendmmsg,
)
from natkit.net.ring import SendRing, send_ring
from natkit.net.segmentation import can_segment, longest_run, run_starts
from natkit.net.slots import (
    MAY_BE_EARLIER,
    NOT_NOW,
    ONE_FAILED,
    DatagramBatch,
    Endpoint,
    Packet,
    mapped,
)

__all__ = ["LinuxBatch"]

# The datagrams alike can't be cut out of one message on this way: a link without checksums, or one
# that they don't fit.
_CAN_NOT_CUT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})

# Where runs are shorter, on average, to find and describe them takes longer than they save.
_SHORTEST_RUN = 3

# So few datagrams are cheaper to send by the socket module than by ctypes, whose calls cost more.
_SINGLY = 2

# Fewer numbers are written one by one in less time.
_WORTH_COLUMNS = 10

# From fewer sockets it is cheaper to send by a call for each.
_WORTH_A_RING = 6

_SEND_FLAGS = getattr(socket, "MSG_DONTWAIT", 0)
_RECEIVE_FLAGS = _SEND_FLAGS | getattr(socket, "MSG_TRUNC", 0)


class LinuxBatch(DatagramBatch):
    """The batch of :func:`natkit.net.batch.datagram_batch` on Linux."""

    def __init__(self, capacity: int, datagram_size: int, headroom: int) -> None:
        super().__init__(capacity, datagram_size, headroom)
        self._memory = address_of(self.buffer)
        incoming = MessageVector(capacity, {n: address_of(m) for n, m in self.names.items()})
        self._addresses = array("L", [self._memory + start for start in self.starts])
        for index in range(capacity):
            incoming.bases[index] = self._addresses[index]
            incoming.sizes[index] = datagram_size
        self._incoming = incoming
        self._destinations = {size: mapped(capacity * size) for size in self.names}
        destinations = {size: address_of(area) for size, area in self._destinations.items()}
        self._outgoing = MessageVector(capacity, destinations)
        self._runs = RunVector(capacity, destinations)
        self._can_segment = can_segment()
        self._ring: SendRing | None = None
        self._has_asked_for_ring = False

    def receive(self, endpoint: Endpoint, first: int = 0) -> list[int]:
        """See :meth:`natkit.net.slots.DatagramBatch.receive`."""
        size = endpoint.name_size
        header = self._incoming.headers[size][first]
        room = self.capacity - first
        count = recvmmsg(endpoint.descriptor, header, room, _RECEIVE_FLAGS, None)
        if count == 1:
            return [self._incoming.lengths[size][first]]
        if count < 0:
            error = last_error()
            if error in NOT_NOW:
                return []
            count = self._receive_anew(endpoint, header, room, error)
        lengths: list[int] = self._incoming.lengths[size][first : first + count].tolist()
        return lengths

    def _receive_anew(self, endpoint: Endpoint, header: Headers, room: int, error: int) -> int:
        """Go on after a call that failed; how many were received, 0 when nothing waits."""
        for _ in range(self.capacity):
            if error in NOT_NOW:
                break
            if error not in ONE_FAILED and error != errno.EINTR:
                raise OSError(error, os.strerror(error))
            count = recvmmsg(endpoint.descriptor, header, room, _RECEIVE_FLAGS, None)
            if count >= 0:
                return count
            error = last_error()
        return 0

    def send(self, endpoint: Endpoint, packets: Sequence[Packet]) -> Sequence[int]:
        """See :meth:`natkit.net.slots.DatagramBatch.send`."""
        count = len(packets)
        if count > self.capacity:
            raise MisuseError(f"{count} packets in a batch of {self.capacity}")
        if count <= _SINGLY:
            return self._send_each(endpoint, packets)
        # Columns, which are then treated as wholes: what is done for each packet is what costs.
        sizes, names = self._describe(packets)
        if self._can_segment and endpoint.segments:
            runs = _runs(sizes, names)
            if runs is not None:
                return self._send_runs(endpoint, sizes, names, runs)
        return self._send_from(endpoint, names, 0)

    def send_from_each(
        self, endpoints: Sequence[Endpoint], packets: Sequence[Packet]
    ) -> Sequence[int]:
        """See :meth:`natkit.net.slots.DatagramBatch.send_from_each`."""
        count = len(packets)
        if count <= _SINGLY:
            return self._send_each_from(endpoints, packets)
        _, names = self._describe(packets)
        size = endpoints[0].name_size
        joined = b"".join(names)
        self._destinations[size][: len(joined)] = joined
        headers = self._outgoing.headers[size]
        ring = self._ring_for(count)
        if ring is not None:
            return self._send_by(ring, endpoints, headers)
        failed: list[int] = []
        place = 0
        while place < count:
            endpoint, end = endpoints[place], place + 1
            while end < count and endpoints[end] is endpoint:
                end += 1
            done = sendmmsg(endpoint.descriptor, headers[place], end - place, _SEND_FLAGS)
            if place + done != end:
                failed += self._send_rest(endpoint, place, done, end)
            place = end
        return failed

    def _ring_for(self, count: int) -> SendRing | None:
        """The ring, if so many messages are worth it and there is one."""
        if count < _WORTH_A_RING:
            return None
        if not self._has_asked_for_ring:
            self._has_asked_for_ring = True
            self._ring = send_ring(self.capacity, _SEND_FLAGS)
        return self._ring

    def _send_by(
        self, ring: SendRing, endpoints: Sequence[Endpoint], headers: Sequence[Headers]
    ) -> Sequence[int]:
        """Send what ``headers`` say; those that fail as ever."""
        descriptors = [endpoint.descriptor for endpoint in endpoints]
        failed: list[int] = []
        for place, error in ring.send(descriptors, headers):
            if error in NOT_NOW:
                failed.append(place)
                continue
            endpoint = endpoints[place]
            done = sendmmsg(endpoint.descriptor, headers[place], 1, _SEND_FLAGS)
            if done != 1:
                failed += self._send_rest(endpoint, place, done, place + 1)
        return failed

    def _describe(self, packets: Sequence[Packet]) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """Have the vector say where packets lie and how long they are; their sizes and names."""
        count, memory, outgoing = len(packets), self._memory, self._outgoing
        starts: tuple[int, ...]
        sizes: tuple[int, ...]
        names: tuple[bytes, ...]
        starts, sizes, names = zip(*packets, strict=True)
        if count < _WORTH_COLUMNS:
            for place in range(count):
                outgoing.bases[place] = memory + starts[place]
                outgoing.sizes[place] = sizes[place]
        else:
            outgoing.bases[:count] = array("L", [memory + start for start in starts])
            outgoing.sizes[:count] = array("L", sizes)
        return sizes, names

    def send_back(self, endpoint: Endpoint, count: int, size: int) -> Sequence[int]:
        """See :meth:`natkit.net.slots.DatagramBatch.send_back`."""
        name_size, outgoing = endpoint.name_size, self._outgoing
        names = self.names[name_size][: count * name_size]
        outgoing.bases[:count] = self._addresses[:count]
        outgoing.sizes[:count] = array("L", [size]) * count
        if self._can_segment and endpoint.segments and 1 < count <= longest_run(size):
            name = names[:name_size]
            if names == name * count:
                return self._send_runs(endpoint, (size,) * count, (name,) * count, (0,))
        self._destinations[name_size][: len(names)] = names
        done = sendmmsg(endpoint.descriptor, outgoing.headers[name_size][0], count, _SEND_FLAGS)
        return () if done == count else self._send_rest(endpoint, 0, done, count)

    def _send_runs(
        self,
        endpoint: Endpoint,
        sizes: Sequence[int],
        names: Sequence[bytes],
        starts: Sequence[int],
    ) -> Sequence[int]:
        """Send what begins at each of ``starts`` as one message; one by one what is refused so."""
        size, runs, iovs = endpoint.name_size, self._runs, self._outgoing.iovs
        firsts, counts, datagrams = runs.firsts[size], runs.counts[size], runs.datagrams
        count = len(starts)
        run, end = count, len(names)
        for first in reversed(starts):
            run -= 1
            firsts[run] = iovs[first]
            counts[run] = end - first
            datagrams[run] = sizes[first] if end - first > 1 else 0
            end = first
        joined = b"".join([names[first] for first in starts])
        self._destinations[size][: len(joined)] = joined
        done = sendmmsg(endpoint.descriptor, runs.headers[size][0], count, _SEND_FLAGS)
        if done == count:
            return ()
        if done < 0:
            done = 0
            if last_error() in _CAN_NOT_CUT:
                endpoint.segments = False
        return self._send_from(endpoint, names, starts[done])

    def _send_from(self, endpoint: Endpoint, names: Sequence[bytes], place: int) -> Sequence[int]:
        """Send the packets from ``place`` on, each as one message."""
        size, count = endpoint.name_size, len(names)
        joined = b"".join(names)
        self._destinations[size][: len(joined)] = joined
        header = self._outgoing.headers[size][place]
        done = sendmmsg(endpoint.descriptor, header, count - place, _SEND_FLAGS)
        if place + done == count:
            return ()
        return self._send_rest(endpoint, place, done, count)

    def _send_rest(self, endpoint: Endpoint, place: int, done: int, count: int) -> Sequence[int]:
        """Go on after a call from ``place`` on that sent ``done`` of ``count``, or -1."""
        headers = self._outgoing.headers[endpoint.name_size]
        failed: list[int] = []
        tried_again = -1
        while True:
            if done >= 0:
                place += done
            else:
                # The kernel stops at the packet that fails, and says so when it is the first.
                error = last_error()
                if error in NOT_NOW:
                    return [*failed, *range(place, count)]
                if error in MAY_BE_EARLIER and place != tried_again:
                    tried_again = place
                elif error in ONE_FAILED:
                    failed.append(place)
                    place += 1
                elif error != errno.EINTR:
                    raise OSError(error, os.strerror(error))
            if place == count:
                return failed
            done = sendmmsg(endpoint.descriptor, headers[place], count - place, _SEND_FLAGS)


def _runs(sizes: Sequence[int], names: Sequence[bytes]) -> Sequence[int] | None:
    """Where runs begin, if they are long enough on average to gain by."""
    count, size, name = len(sizes), sizes[0], names[0]
    if sizes.count(size) == names.count(name) == count <= longest_run(size):
        return (0,)
    # Two looks at neighbours: where clients take turns, they go to different ones.
    middle = count // 2
    if name != names[1] and names[middle - 1] != names[middle]:
        return None
    if len(set(names)) * _SHORTEST_RUN > count:
        return None
    starts = run_starts(sizes, names)
    return starts if _SHORTEST_RUN * len(starts) <= count else None
