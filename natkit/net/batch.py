"""UDP datagrams in batches: one system call for up to :data:`CAPACITY` of them.

:class:`DatagramBatch` is the memory: slots that are filled from a socket, changed in place, and
sent from where they lie.  The relay plane works on it directly.  :class:`DatagramSocket` is a UDP
socket on top of it for everybody else, in ``bytes`` and :class:`~natkit.address.Address`.

On Linux a batch is one ``recvmmsg`` or ``sendmmsg``, in which datagrams alike are one message
(:mod:`natkit.net.segmentation`); elsewhere the same classes make one call a datagram.
"""

import socket
from collections.abc import Iterable, Sequence

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.net import sockaddr
from natkit.net.libc import HAVE_MMSG
from natkit.net.linux_batch import LinuxBatch
from natkit.net.slots import NOT_NOW, ONE_FAILED, DatagramBatch, Endpoint, Packet

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


def datagram_batch(
    *,
    capacity: int = CAPACITY,
    datagram_size: int = LARGEST_DATAGRAM,
    headroom: int = 0,
    portable: bool = not HAVE_MMSG,
) -> DatagramBatch:
    """The batch that suits this platform; ``portable`` asks for the one that runs everywhere."""
    kind = _PortableBatch if portable else LinuxBatch
    return kind(capacity, datagram_size, headroom)


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
                if error.errno in NOT_NOW:
                    break
                if error.errno not in ONE_FAILED:
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
