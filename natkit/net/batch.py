"""UDP datagrams in batches: one system call for up to :data:`CAPACITY` of them.

:class:`DatagramBatch` is the memory: slots that are filled from a socket, changed in place, and
sent from where they lie.  The relay plane works on it directly.  :class:`DatagramSocket` is a UDP
socket on top of it for everybody else, in ``bytes`` and :class:`~natkit.address.Address`.

On Linux a batch is one ``recvmmsg`` or ``sendmmsg``; elsewhere the same classes make one call a
datagram.
"""

import contextlib
import errno
import mmap
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.net import sockaddr
from natkit.net.libc import HAVE_MMSG, MessageVector, address_of

__all__ = [
    "CAPACITY",
    "LARGEST_DATAGRAM",
    "DatagramBatch",
    "DatagramSocket",
    "Endpoint",
    "datagram_batch",
]

CAPACITY = 64
"""Datagrams a batch: enough that the system call hardly counts, few enough that one socket does not
keep the others waiting for more than a millisecond."""

LARGEST_DATAGRAM = 65_535
"""No UDP payload is longer (RFC 768), so a slot of this size never truncates one."""

_TAILROOM = 4

_NOTHING_WAITS = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
# The send buffer is full: so it is for all that follow.
_BUFFER_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM})
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


class Endpoint:
    """A UDP socket with what a batch needs to know of it; the socket is made non-blocking."""

    __slots__ = ("descriptor", "name_size", "socket")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.descriptor = sock.fileno()
        self.name_size = sockaddr.size_for(sock.family)


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
        self.buffer = _mapped(capacity * stride)
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
    def queue(self, start: int, size: int, name: bytes) -> None:
        """Queue ``size`` bytes at ``start`` of the buffer to go to ``name``.

        They must stay as they are until :meth:`flush`.  IndexError beyond ``capacity``.
        """

    @abstractmethod
    def flush(self, endpoint: Endpoint) -> Sequence[int]:
        """Send what is queued from ``endpoint``; gives the places in the queue that failed.

        A datagram that can't be sent (too long, unreachable, refused) is skipped; when the send
        buffer is full, all that remain are given up.  Never waits.  Raises OSError when the socket
        itself is unusable.
        """

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
        self._incoming = MessageVector(capacity, {n: address_of(m) for n, m in self.names.items()})
        for index, start in enumerate(self.starts):
            self._incoming.bases[index] = self._memory + start
            self._incoming.sizes[index] = datagram_size
        self._destinations = {size: _mapped(capacity * size) for size in self.names}
        self._outgoing = MessageVector(
            capacity, {size: address_of(area) for size, area in self._destinations.items()}
        )
        self._bases = self._outgoing.bases
        self._sizes = self._outgoing.sizes
        self._queued: list[bytes] = []

    def receive(self, endpoint: Endpoint, first: int = 0) -> list[int]:
        size = endpoint.name_size
        for _ in range(self.capacity):
            count = self._incoming.receive(endpoint.descriptor, size, first, self.capacity - first)
            if count > 0:
                lengths: list[int] = self._incoming.lengths[size][first : first + count].tolist()
                return lengths
            if -count in _NOTHING_WAITS:
                return []
            if -count not in _ONE_FAILED and -count != errno.EINTR:
                raise OSError(-count, os.strerror(-count))
        return []

    def queue(self, start: int, size: int, name: bytes) -> None:
        names = self._queued
        place = len(names)
        self._bases[place] = self._memory + start
        self._sizes[place] = size
        names.append(name)

    def flush(self, endpoint: Endpoint) -> Sequence[int]:
        names = self._queued
        count = len(names)
        if not count:
            return ()
        size = endpoint.name_size
        self._queued = []
        self._destinations[size][: count * size] = b"".join(names)
        done = self._outgoing.send(endpoint.descriptor, size, 0, count)
        return () if done == count else self._flush_rest(endpoint, done, count)

    def _flush_rest(self, endpoint: Endpoint, done: int, count: int) -> Sequence[int]:
        """Go on after a batch of which ``done`` went out, or which failed with that negated."""
        failed: list[int] = []
        place = 0
        while True:
            if done >= 0:
                place += done
            elif -done in _BUFFER_FULL:
                return [*failed, *range(place, count)]
            elif -done in _ONE_FAILED:
                failed.append(place)
                place += 1
            elif -done != errno.EINTR:
                raise OSError(-done, os.strerror(-done))
            if place == count:
                return failed
            done = self._outgoing.send(
                endpoint.descriptor, endpoint.name_size, place, count - place
            )


class _PortableBatch(DatagramBatch):
    """One call of the socket module a datagram."""

    def __init__(self, capacity: int, datagram_size: int, headroom: int) -> None:
        super().__init__(capacity, datagram_size, headroom)
        self._view = memoryview(self.buffer)
        self._queued: list[tuple[int, int, bytes]] = []

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
                if error.errno in _NOTHING_WAITS:
                    break
                if error.errno not in _ONE_FAILED:
                    raise
                continue
            names[slices[index]] = sockaddr.from_python(source)
            lengths.append(length)
        return lengths

    def queue(self, start: int, size: int, name: bytes) -> None:
        if len(self._queued) == self.capacity:
            raise IndexError("the queue is full")
        self._queued.append((start, size, name))

    def flush(self, endpoint: Endpoint) -> Sequence[int]:
        queued, self._queued = self._queued, []
        failed: list[int] = []
        for place, (start, size, name) in enumerate(queued):
            try:
                endpoint.socket.sendto(self._view[start : start + size], sockaddr.to_python(name))
            except OSError as error:
                if error.errno in _BUFFER_FULL:
                    return [*failed, *range(place, len(queued))]
                if error.errno not in _ONE_FAILED:
                    raise
                failed.append(place)
        return failed


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
        place = 0
        for data, remote in datagrams:
            name = sockaddr.pack(remote)
            if len(name) != self._endpoint.name_size:
                raise MisuseError(f"a socket on {self.local} can't send to {remote}")
            if len(data) > batch.datagram_size:
                self.unsent += 1
                continue
            start = batch.starts[place]
            batch.buffer[start : start + len(data)] = data
            batch.queue(start, len(data), name)
            place += 1
            if place == batch.capacity:
                self.unsent += len(batch.flush(self._endpoint))
                place = 0
        self.unsent += len(batch.flush(self._endpoint))

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
