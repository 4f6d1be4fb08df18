"""Packets on the TCP connections of ICE: two bytes of length before each (RFC 4571, RFC 6544 §3).

STUN messages and the application's data share a connection, and both are framed alike.
"""

from collections.abc import Sequence
from typing import Final

from natkit.errors import MalformedMessage, MisuseError

__all__ = ["LONGEST_PACKET", "PacketFraming", "frame"]

LONGEST_PACKET: Final = 0xFFFF
"""Bytes of the longest packet that the length can state (RFC 4571 §2)."""

_LENGTH: Final = 2


def frame(packet: bytes) -> bytes:
    """The packet as it goes on the connection; MisuseError when it is longer than 65535 bytes."""
    if len(packet) > LONGEST_PACKET:
        raise MisuseError(f"{len(packet)} bytes do not fit a packet on a stream")
    return len(packet).to_bytes(_LENGTH, "big") + packet


class PacketFraming:
    """Cuts a stream into the packets that :func:`frame` made.

    Satisfies :class:`~natkit.machine.StreamFraming`.  ``limit`` is the longest packet that will be
    waited for, in bytes; the buffer never holds more than one incomplete packet.  Null packets,
    which the RFC allows and which carry nothing, are passed over.
    """

    def __init__(self, limit: int = LONGEST_PACKET) -> None:
        if not 1 <= limit <= LONGEST_PACKET:
            raise MisuseError(f"a limit of {limit} bytes can't frame packets")
        self._limit = limit
        self._buffer = bytearray()
        self._failure: MalformedMessage | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait for the rest of their packet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> Sequence[bytes]:
        """Add bytes, take the packets that are complete now.

        Raises MalformedMessage when a length is beyond the limit.  Packets before that point are
        given first, and the next call raises; so what a stream yields does not depend on how it
        was cut.
        """
        if self._failure is not None:
            raise self._failure
        buffer = self._buffer
        buffer += data
        packets: list[bytes] = []
        start, end = 0, len(buffer)
        while end - start >= _LENGTH:
            length = buffer[start] << 8 | buffer[start + 1]
            if length > self._limit:
                self._failure = MalformedMessage(
                    f"a packet of {length} bytes; {self._limit} are allowed"
                )
                buffer.clear()
                if packets:
                    return packets
                raise self._failure
            stop = start + _LENGTH + length
            if stop > end:
                break
            if length:
                packets.append(bytes(buffer[start + _LENGTH : stop]))
            start = stop
        del buffer[:start]
        return packets
