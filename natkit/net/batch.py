"""UDP datagrams in batches: one system call for up to :data:`CAPACITY` of them.

:class:`DatagramBatch` is the memory: slots that are filled from a socket, changed in place, and
sent from where they lie.  The relay plane works on it directly.  :class:`DatagramSocket` is a UDP
socket on top of it for everybody else, in ``bytes`` and :class:`~natkit.address.Address`.

On Linux a batch is one ``recvmmsg`` or ``sendmmsg``, in which datagrams alike are one message
(:mod:`natkit.net.segmentation`); elsewhere the same classes make one call a datagram.
"""

import contextlib
import errno
import mmap
import os
import socket
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.net import sockaddr
from natkit.net.libc import (
    HAVE_MMSG,
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

__all__ = [
    "CAPACITY",
    "LARGEST_DATAGRAM",
    "DatagramBatch",
    "DatagramSocket",
    "Endpoint",
    "Packet",
    "datagram_batch",
]

CAPACITY = 64
"""Datagrams a batch: enough that the system call hardly counts, few enough that one socket does not
keep the others waiting for more than a millisecond."""

LARGEST_DATAGRAM = 65_535
"""No UDP payload is longer (RFC 768), so a slot of this size never truncates one."""

_TAILROOM = 4

# Nothing waits to be received; or no buffer is free to send, for this datagram or the next.
_NOT_NOW = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM})
# This datagram can't be sent, or ICMP told of an earlier one; those that follow may do better.
_ONE_FAILED = frozenset(
    {
        errno.EACCES,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EDESTADDRREQ,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINVAL,
        errno.EMSGSIZE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EPERM,
        errno.EPROTO,
    }
)

# The datagrams alike can't be cut out of one message on this way: a link without checksums, or one
# that they don't fit.
_CAN_NOT_CUT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})

# A socket fails once with each error that ICMP told of, whichever datagram it belongs to.
_MAY_BE_EARLIER = _ONE_FAILED - {errno.EMSGSIZE}

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

Packet = tuple[int, int, bytes]
"""A datagram to send: where it starts in the batch's buffer, its size, and to whom."""


class Endpoint:
    """A UDP socket with what a batch needs to know of it; the socket is made non-blocking.

    ``name_size``: bytes of its addresses, if that is known already.  ``segments``: datagrams alike
    may leave it as one message.
    """

    __slots__ = ("descriptor", "name_size", "segments", "socket")

    def __init__(self, sock: socket.socket, name_size: int = 0) -> None:
        if sock.getblocking():
            sock.setblocking(False)
        self.socket = sock
        self.descriptor = sock.fileno()
        self.name_size = name_size or sockaddr.size_for(sock.family)
        self.segments = True


class DatagramBatch(ABC):
    """Slots for datagrams: received into, changed in place, sent from.  See :func:`datagram_batch`.

    The bytes of all slots lie in :attr:`buffer`.  A datagram received into slot ``i`` begins at
    ``starts[i]``; ``headroom`` bytes before it and four after the longest one are free, for headers
    and padding.  Who sent it is ``names[size][name_slices[size][i]]``, where ``size`` is the
    endpoint's ``name_size``, in the form of :mod:`natkit.net.sockaddr`.

    The memory is mapped, and pages that no datagram reached are never touched: of the 4 MB that
    slots of full size span, small datagrams use 256 KB.  A batch serves any number of sockets in
    turn, from one thread.
    """

    def __init__(self, capacity: int, datagram_size: int, headroom: int) -> None:
        self.capacity = capacity
        self.datagram_size = datagram_size
        # Whole cache lines, and an odd number of them: strides that are powers of two would put the
        # heads of all slots in the same few places of the processor's caches.
        stride = 64 * (-(-(headroom + datagram_size + _TAILROOM) // 64) | 1)
        self.starts = [headroom + index * stride for index in range(capacity)]
        self._stride = stride
        self.buffer = _mapped(capacity * stride)
        self._view = memoryview(self.buffer)
        sizes = (sockaddr.IPV4_SIZE, sockaddr.IPV6_SIZE)
        self.names = {size: _mapped(capacity * size) for size in sizes}
        self.name_slices = {
            size: [slice(index * size, index * size + size) for index in range(capacity)]
            for size in sizes
        }

    @abstractmethod
    def receive(self, endpoint: Endpoint, first: int = 0) -> list[int]:
        """Receive what waits into the slots from ``first`` on; the lengths of what was received.

        The list is empty when nothing waits.  A length beyond ``datagram_size`` is that of a
        datagram that was cut off.  ICMP errors that a connected socket reports are passed over.
        Raises OSError when the socket itself is unusable.
        """

    @abstractmethod
    def send(self, endpoint: Endpoint, packets: Sequence[Packet]) -> Sequence[int]:
        """Send up to ``capacity`` packets, in order; gives the places of those that failed.

        A datagram that can't be sent (too long, unreachable, refused) is skipped, after a second
        try where the error may be ICMP's of an earlier datagram; when the send buffer is full, all
        that remain are given up.  Never waits.  Raises OSError when the socket
        itself is unusable.
        """

    @abstractmethod
    def send_back(self, endpoint: Endpoint, count: int, size: int) -> Sequence[int]:
        """:meth:`send` the first ``size`` bytes of each of so many slots to who it came from."""

    @abstractmethod
    def send_from_each(
        self, endpoints: Sequence[Endpoint], packets: Sequence[Packet]
    ) -> Sequence[int]:
        """:meth:`send`, each packet from an endpoint of its own; all are of one family."""

    def column(self, form: str, offset: int) -> memoryview:
        """A number in each slot, ``offset`` bytes after its start, as :mod:`struct` has ``form``.

        MisuseError where it does not lie at a multiple of its size.
        """
        numbers = self._view.cast("B").cast(form)  # type: ignore[call-overload]
        size = numbers.itemsize
        first, stride = self.starts[0] + offset, self._stride
        if first % size:
            raise MisuseError(f"{size} bytes at {first} are not aligned")
        column: memoryview = numbers[first // size :: stride // size]
        return column

    def send_one(self, endpoint: Endpoint, start: int, size: int, name: bytes) -> bool:
        """:meth:`send` for one packet alone, at less expense; False when it could not be sent."""
        try:
            endpoint.socket.sendto(self._view[start : start + size], sockaddr.to_python(name))
        except OSError as error:
            if error.errno in _NOT_NOW:
                return False
            if error.errno not in _ONE_FAILED:
                raise
            return self._send_again(endpoint, (start, size, name), error)
        return True

    def _send_again(self, endpoint: Endpoint, packet: Packet, error: OSError) -> bool:
        """Send once more what failed with ``error``, if that may be an earlier datagram's."""
        if error.errno not in _MAY_BE_EARLIER:
            return False
        start, size, name = packet
        try:
            endpoint.socket.sendto(self._view[start : start + size], sockaddr.to_python(name))
        except OSError:
            return False
        return True

    def _send_each(self, endpoint: Endpoint, packets: Sequence[Packet]) -> Sequence[int]:
        """:meth:`send` by one call of the socket module a datagram."""
        view, send_to = self._view, endpoint.socket.sendto
        failed: list[int] = []
        for place, (start, size, name) in enumerate(packets):
            try:
                send_to(view[start : start + size], sockaddr.to_python(name))
            except OSError as error:
                if error.errno in _NOT_NOW:
                    return [*failed, *range(place, len(packets))]
                if error.errno not in _ONE_FAILED:
                    raise
                if not self._send_again(endpoint, (start, size, name), error):
                    failed.append(place)
        return failed

    def _send_each_from(
        self, endpoints: Sequence[Endpoint], packets: Sequence[Packet]
    ) -> Sequence[int]:
        """:meth:`send_from_each` by one call of the socket module a datagram."""
        return [
            place
            for place, (endpoint, packet) in enumerate(zip(endpoints, packets, strict=True))
            if not self.send_one(endpoint, *packet)
        ]

    def sender(self, endpoint: Endpoint, index: int) -> bytes:
        """The socket address of who sent the datagram in slot ``index``."""
        size = endpoint.name_size
        return self.names[size][self.name_slices[size][index]]


def datagram_batch(
    *,
    capacity: int = CAPACITY,
    datagram_size: int = LARGEST_DATAGRAM,
    headroom: int = 0,
    portable: bool = not HAVE_MMSG,
) -> DatagramBatch:
    """The batch that suits this platform; ``portable`` asks for the one that runs everywhere."""
    kind = _PortableBatch if portable else _LinuxBatch
    return kind(capacity, datagram_size, headroom)


class _LinuxBatch(DatagramBatch):
    """Whole batches by ``recvmmsg`` and ``sendmmsg``."""

    def __init__(self, capacity: int, datagram_size: int, headroom: int) -> None:
        super().__init__(capacity, datagram_size, headroom)
        self._memory = address_of(self.buffer)
        incoming = MessageVector(capacity, {n: address_of(m) for n, m in self.names.items()})
        self._addresses = array("L", [self._memory + start for start in self.starts])
        for index in range(capacity):
            incoming.bases[index] = self._addresses[index]
            incoming.sizes[index] = datagram_size
        self._incoming = incoming
        self._destinations = {size: _mapped(capacity * size) for size in self.names}
        destinations = {size: address_of(area) for size, area in self._destinations.items()}
        self._outgoing = MessageVector(capacity, destinations)
        self._runs = RunVector(capacity, destinations)
        self._can_segment = can_segment()
        self._ring: SendRing | None = None
        self._has_asked_for_ring = False

    def receive(self, endpoint: Endpoint, first: int = 0) -> list[int]:
        size = endpoint.name_size
        header = self._incoming.headers[size][first]
        room = self.capacity - first
        count = recvmmsg(endpoint.descriptor, header, room, _RECEIVE_FLAGS, None)
        if count == 1:
            return [self._incoming.lengths[size][first]]
        if count < 0:
            error = last_error()
            if error in _NOT_NOW:
                return []
            count = self._receive_anew(endpoint, header, room, error)
        lengths: list[int] = self._incoming.lengths[size][first : first + count].tolist()
        return lengths

    def _receive_anew(self, endpoint: Endpoint, header: Headers, room: int, error: int) -> int:
        """Go on after a call that failed; how many were received, 0 when nothing waits."""
        for _ in range(self.capacity):
            if error in _NOT_NOW:
                break
            if error not in _ONE_FAILED and error != errno.EINTR:
                raise OSError(error, os.strerror(error))
            count = recvmmsg(endpoint.descriptor, header, room, _RECEIVE_FLAGS, None)
            if count >= 0:
                return count
            error = last_error()
        return 0

    def send(self, endpoint: Endpoint, packets: Sequence[Packet]) -> Sequence[int]:
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
            if error in _NOT_NOW:
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
                if error in _NOT_NOW:
                    return [*failed, *range(place, count)]
                if error in _MAY_BE_EARLIER and place != tried_again:
                    tried_again = place
                elif error in _ONE_FAILED:
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


class _PortableBatch(DatagramBatch):
    """One call of the socket module a datagram."""

    def receive(self, endpoint: Endpoint, first: int = 0) -> list[int]:
        lengths: list[int] = []
        names = self.names[endpoint.name_size]
        slices = self.name_slices[endpoint.name_size]
        for _ in range(self.capacity - first):
            index = first + len(lengths)
            start = self.starts[index]
            # One byte more than a datagram may have shows which one was cut off.
            slot = self._view[start : start + self.datagram_size + 1]
            try:
                length, source = endpoint.socket.recvfrom_into(slot)
            except OSError as error:
                if error.errno in _NOT_NOW:
                    break
                if error.errno not in _ONE_FAILED:
                    raise
                continue
            names[slices[index]] = sockaddr.from_python(source)
            lengths.append(length)
        return lengths

    def send(self, endpoint: Endpoint, packets: Sequence[Packet]) -> Sequence[int]:
        if len(packets) > self.capacity:
            raise MisuseError(f"{len(packets)} packets in a batch of {self.capacity}")
        return self._send_each(endpoint, packets)

    def send_from_each(
        self, endpoints: Sequence[Endpoint], packets: Sequence[Packet]
    ) -> Sequence[int]:
        return self._send_each_from(endpoints, packets)

    def send_back(self, endpoint: Endpoint, count: int, size: int) -> Sequence[int]:
        names = [self.sender(endpoint, index) for index in range(count)]
        return self._send_each(
            endpoint, [(start, size, name) for start, name in zip(self.starts, names, strict=False)]
        )


class DatagramSocket:
    """A UDP socket that receives and sends in batches; it owns ``sock`` and makes it non-blocking.

    ``batch`` is memory to work in, shared by all sockets of one thread.  Nothing here waits, and no
    error of a peer or of the path raises: what could not be sent or did not fit is counted.
    """

    def __init__(self, sock: socket.socket, batch: DatagramBatch) -> None:
        self._endpoint = Endpoint(sock)
        self._batch = batch
        self.truncated = 0
        """Datagrams received that were longer than the batch's slots, and dropped."""
        self.unsent = 0
        """Datagrams that the system refused to send."""

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for options."""
        return self._endpoint.socket

    @property
    def local(self) -> Address:
        """The address that the socket is bound to."""
        return sockaddr.unpack(sockaddr.from_python(self._endpoint.socket.getsockname()))

    def fileno(self) -> int:
        """The descriptor to wait on for reading."""
        return self._endpoint.descriptor

    def receive(self) -> list[tuple[bytes, Address]]:
        """What waits, up to one batch: each datagram and who sent it; [] when nothing waits."""
        batch = self._batch
        received: list[tuple[bytes, Address]] = []
        for index, length in enumerate(batch.receive(self._endpoint)):
            if length > batch.datagram_size:
                self.truncated += 1
                continue
            start = batch.starts[index]
            sender = sockaddr.unpack(batch.sender(self._endpoint, index))
            received.append((batch.buffer[start : start + length], sender))
        return received

    def send(self, datagrams: Iterable[tuple[bytes, Address]]) -> None:
        """Send each datagram to its address, in order; MisuseError for one of another family."""
        batch = self._batch
        packets: list[Packet] = []
        for data, remote in datagrams:
            name = sockaddr.pack(remote)
            if len(name) != self._endpoint.name_size:
                raise MisuseError(f"a socket on {self.local} can't send to {remote}")
            if len(data) > batch.datagram_size:
                self.unsent += 1
                continue
            start = batch.starts[len(packets)]
            batch.buffer[start : start + len(data)] = data
            packets.append((start, len(data), name))
            if len(packets) == batch.capacity:
                self.unsent += len(batch.send(self._endpoint, packets))
                packets = []
        self.unsent += len(batch.send(self._endpoint, packets))

    def close(self) -> None:
        """Close the socket."""
        self._endpoint.socket.close()


def _mapped(size: int) -> mmap.mmap:
    """Zeroed memory of which only the pages in use are resident."""
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A kernel built without huge pages refuses, and has none to avoid.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
