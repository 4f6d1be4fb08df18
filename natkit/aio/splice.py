"""Passes bytes between two connections, both ways, as if they were one.

The end of one direction is passed on, and the other direction goes on, where the connection can do
that: TCP can, TLS cannot, and is closed once it has got all.  A reset is passed on as a reset.
Whoever sends faster than the other end reads is not read from meanwhile, so that each direction
keeps :data:`BUFFER` bytes and what one read gives, and no more.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol, cast

__all__ = ["BUFFER", "Splice", "reset"]

BUFFER: Final = 64 * 1024
"""Bytes unread by one end above which the other end is not read from."""


class _HasOptions(Protocol):
    def setsockopt(self, level: int, name: int, value: bytes, /) -> None: ...


class Splice:
    """Two connections, ``client`` and ``peer``, of which neither is read before :meth:`join`.

    ``on_bytes`` is told of bytes on their way: how many to the peer, how many to the client.
    ``on_end`` is called once, when both connections are over, whoever ended them.
    """

    def __init__(
        self,
        client: asyncio.Transport,
        on_bytes: Callable[[int, int], None],
        on_end: Callable[[], None],
    ) -> None:
        self._on_bytes = on_bytes
        self._on_end = on_end
        self.to_client = _End(self, lambda count: on_bytes(count, 0))
        self.to_peer = _End(self, lambda count: on_bytes(0, count))
        self.to_client.other, self.to_peer.other = self.to_peer, self.to_client
        self.passed = 0
        """Bytes so far, both ways."""
        self.to_client.connection_made(client)
        client.set_protocol(self.to_client)

    @property
    def waiting(self) -> int:
        """Bytes that an end has not read."""
        return sum(end.waiting for end in (self.to_client, self.to_peer))

    @property
    def is_over(self) -> bool:
        """Whether both connections have ended."""
        return self.to_client.is_lost and self.to_peer.is_lost

    async def join(self, peer: socket.socket, rest: bytes) -> None:
        """Begin: ``peer`` is connected, ``rest`` was read from the client; raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.to_peer, sock=peer)
        except BaseException:
            peer.close()
            self.fail()
            raise
        if self.to_client.is_lost:
            self.close()
            return
        if rest:
            self.to_client.data_received(rest)
        self.to_client.resume()

    def fail(self) -> None:
        """There is no peer: end with what there is."""
        self.to_peer.is_lost = True
        self.abort()
        self.lost()

    def close(self) -> None:
        """End both connections once they have got what was passed to them."""
        for end in (self.to_client, self.to_peer):
            end.close()

    def abort(self) -> None:
        """Reset both at once, so that neither end takes it for an end in order."""
        for end in (self.to_client, self.to_peer):
            end.reset()

    def lost(self) -> None:
        """One of the ends is over."""
        if self.is_over:
            on_end, self._on_end = self._on_end, _nothing
            on_end()


class _End(asyncio.Protocol):
    """One connection: what arrives on it goes to the other."""

    other: "_End"

    def __init__(self, splice: Splice, count: Callable[[int], None]) -> None:
        self.is_lost = False
        self._splice = splice
        self._count = count
        self._transport: asyncio.Transport | None = None
        self._ended = False

    @property
    def waiting(self) -> int:
        transport = self._transport
        return 0 if transport is None or self.is_lost else transport.get_write_buffer_size()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=BUFFER)

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        self._splice.passed += len(data)
        self.other.write(data)

    def eof_received(self) -> bool | None:
        self._ended = True
        self.other.end_writing()
        if self.other.has_ended:
            self._splice.close()
        # TLS has no half: it closes by itself.
        return self._can_half_close

    def pause_writing(self) -> None:
        self.other.pause()

    def resume_writing(self) -> None:
        self.other.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if exc is None:
            self.other.close()
        else:
            self.other.reset()
        self._splice.lost()

    # What the other end and the splice ask for.

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes from it."""
        return self._ended or self.is_lost

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end_writing(self) -> None:
        """Nothing more is written."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._can_half_close:
            self._transport.write_eof()
        else:
            self._transport.close()

    def pause(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.is_reading():
            transport.pause_reading()

    def resume(self) -> None:
        transport = self._transport
        if transport is None or self._ended or transport.is_closing() or transport.is_reading():
            return
        transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None and not self.is_lost:
            self._transport.close()

    def reset(self) -> None:
        if self._transport is None or self.is_lost:
            return
        reset_on_close(self._transport.get_extra_info("socket"))
        self._transport.abort()

    @property
    def _can_half_close(self) -> bool:
        transport = self._transport
        return transport is not None and transport.get_extra_info("ssl_object") is None


def reset_on_close(sock: object) -> None:
    """Have the system reset the connection when it is closed, rather than end it in order."""
    options = cast("_HasOptions", sock)
    options.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(sock: socket.socket) -> None:
    """Close a socket and reset its connection."""
    if sock.fileno() >= 0:
        reset_on_close(sock)
        sock.close()


def _nothing() -> None:
    pass
