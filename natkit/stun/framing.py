"""Messages on a stream: STUN by its length field, ChannelData by its own, padded to four bytes.

RFC 8489 §6.2.2, RFC 8656 §12.5.
"""

from collections.abc import Callable, Collection, Sequence

from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.demux import STUN_LAST_FIRST_BYTE
from natkit.stun.registry import (
    CHANNEL_FIRST,
    CHANNEL_LAST_RFC5766,
    HEADER_LENGTH,
    MAGIC_COOKIE_BYTES,
)

CHANNEL_HEADER_LENGTH = 4
"""Bytes before the data of a ChannelData message (RFC 8656 §12.4)."""

LONGEST_MESSAGE = 0xFFFC + HEADER_LENGTH
"""Bytes of the longest message that can be framed: STUN with a full length field.

The buffer never holds more than one incomplete message, so this bounds it too.
"""

_CHANNEL_FIRST_BYTES = range(CHANNEL_FIRST >> 8, (CHANNEL_LAST_RFC5766 >> 8) + 1)


class StunFraming:
    """Cuts a stream into STUN and ChannelData messages; padding of ChannelData is taken off.

    Satisfies :class:`~natkit.machine.StreamFraming`.  ``limit`` is the longest message that will be
    waited for, in bytes: a server may allow less than the format does.

    ``taker`` as :class:`~natkit.machine.SharedFraming` says.

    After a message of a type in ``hold_after`` nothing more is cut, for what follows may be no
    message (RFC 6062 §4.5): :meth:`resume` goes on, :meth:`take_rest` gives it as it is.
    """

    def __init__(
        self, limit: int = LONGEST_MESSAGE, *, hold_after: Collection[int] = frozenset()
    ) -> None:
        if not HEADER_LENGTH <= limit <= LONGEST_MESSAGE:
            raise MisuseError(f"a limit of {limit} bytes can't frame STUN")
        self._limit = limit
        self.taker: Callable[[bytes], int] | None = None
        self._buffer = bytearray()
        self._failure: MalformedMessage | None = None
        self._hold_after = frozenset(each.to_bytes(2, "big") for each in hold_after)
        self.is_held = False
        """Whether what follows waits for :meth:`resume` or :meth:`take_rest`."""

    @property
    def buffered(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._buffer)

    def receive(self, data: bytes) -> Sequence[bytes]:
        """Add bytes, take the messages that are complete now.

        Raises MalformedMessage when what follows is neither STUN nor ChannelData, or too long.
        Messages before that point are given first, and the next call raises; so what a stream
        yields does not depend on how it was cut.
        """
        if self._failure is not None:
            raise self._failure
        buffer = self._buffer
        buffer += data
        if self.is_held:
            return []
        # Bytes are cut faster; to make them costs no more than what came, however it trickles in.
        source = bytes(buffer) if 2 * len(data) >= len(buffer) else buffer
        end, limit = len(source), self._limit
        messages: list[bytes] = []
        start = self._offer(source)
        while start < end:
            if source[start] in _CHANNEL_FIRST_BYTES and start + CHANNEL_HEADER_LENGTH <= end:
                size = CHANNEL_HEADER_LENGTH + (source[start + 2] << 8 | source[start + 3])
                stop = start + size + (-size & 3)
                if stop - start <= limit:
                    if stop > end:
                        break
                    messages.append(bytes(source[start : start + size]))
                    start = stop
                    continue
            try:
                sizes = self._sizes(source, start)
            except MalformedMessage as failure:
                self._failure = failure
                buffer.clear()
                if messages:
                    return messages
                raise
            if sizes is None:
                break
            size, padded_size = sizes
            if end - start < padded_size:
                break
            messages.append(bytes(source[start : start + size]))
            start += padded_size
            if self._hold_after and messages[-1][:2] in self._hold_after:
                self.is_held = True
                break
        del buffer[:start]
        return messages

    def resume(self) -> Sequence[bytes]:
        """What follows is messages after all: those that are complete."""
        self.is_held = False
        return self.receive(b"")

    def take_rest(self) -> bytes:
        """Take what follows, which is no message's."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _offer(self, source: bytes | bytearray) -> int:
        """How many bytes somebody else has taken."""
        # What trickles in is a bytearray; it makes up one long message, and is cut here.
        if self.taker is None or not source or not isinstance(source, bytes):
            return 0
        return self.taker(source)

    def _sizes(self, buffer: bytes | bytearray, start: int) -> tuple[int, int] | None:
        """Bytes of the message at ``start`` without and with padding; None: not known yet."""
        first = buffer[start]
        available = len(buffer) - start
        if first <= STUN_LAST_FIRST_BYTE:
            # As much of the cookie as is there must be right: no garbage is waited for.
            cookie = buffer[start + 4 : start + 8]
            if not MAGIC_COOKIE_BYTES.startswith(cookie):
                raise MalformedMessage("a STUN message without magic cookie in a stream")
            header_length = HEADER_LENGTH
        elif first in _CHANNEL_FIRST_BYTES:
            header_length = CHANNEL_HEADER_LENGTH
        else:
            raise MalformedMessage(f"first byte 0x{first:02x} is neither STUN nor ChannelData")
        if available < 4:
            return None
        length = int.from_bytes(buffer[start + 2 : start + 4], "big")
        size = header_length + length
        if header_length == HEADER_LENGTH and length % 4:
            raise MalformedMessage(f"a STUN message with {length} bytes of attributes")
        padded_size = size + -size % 4
        if padded_size > self._limit:
            raise MalformedMessage(f"a message of {size} bytes; {self._limit} are allowed")
        return size, padded_size
