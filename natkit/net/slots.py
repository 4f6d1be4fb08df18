"""Memory for datagrams, and the sockets that they come from and leave by."""

import contextlib
import errno
import mmap
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from natkit.errors import MisuseError
from natkit.net import sockaddr

__all__ = [
    "MAY_BE_EARLIER",
    "NOT_NOW",
    "ONE_FAILED",
    "DatagramBatch",
    "Endpoint",
    "Packet",
    "mapped",
]

_TAILROOM = 4

NOT_NOW: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM})
"""Nothing waits to be received; or no buffer is free to send, for this datagram or the next."""

ONE_FAILED: Final = frozenset(
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
"""This datagram can't be sent, or ICMP told of an earlier one; those that follow may do better."""

MAY_BE_EARLIER: Final = ONE_FAILED - {errno.EMSGSIZE}
"""A socket fails once with each error that ICMP told of, whichever datagram it belongs to."""

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
        self.buffer = mapped(capacity * stride)
        self._view = memoryview(self.buffer)
        sizes = (sockaddr.IPV4_SIZE, sockaddr.IPV6_SIZE)
        self.names = {size: mapped(capacity * size) for size in sizes}
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
            if error.errno in NOT_NOW:
                return False
            if error.errno not in ONE_FAILED:
                raise
            return self._send_again(endpoint, (start, size, name), error)
        return True

    def _send_again(self, endpoint: Endpoint, packet: Packet, error: OSError) -> bool:
        """Send once more what failed with ``error``, if that may be an earlier datagram's."""
        if error.errno not in MAY_BE_EARLIER:
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
                if error.errno in NOT_NOW:
                    return [*failed, *range(place, len(packets))]
                if error.errno not in ONE_FAILED:
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


def mapped(size: int) -> mmap.mmap:
    """Zeroed memory of which only the pages in use are resident."""
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # A kernel built without huge pages refuses, and has none to avoid.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
