"""Messages on a stream, cut by Content-Length, and the line ends between them that keep it alive.

RFC 3261 §18.3, §7.5; RFC 5626 §3.5.1.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

from natkit.errors import MalformedMessage
from natkit.keepalive.crlf import PING, PONG
from natkit.sip.parser import DEFAULT_LIMITS, EMPTY_LINE, MessageLimits
from natkit.sip.values import read_number

__all__ = ["PING", "PONG", "Expect", "SipFraming"]

LARGEST_LENGTH: Final = 2**31 - 1
"""Bytes that a Content-Length may state."""

_CRLF: Final = b"\r\n"
_CONTENT_LENGTH = re.compile(
    rb"\r\n(?:content-length|l)[ \t]*:((?:[^\r\n]++|\r\n[ \t])*+)", re.IGNORECASE
)


class Expect(Enum):
    """Which keep-alive the other end may send; a lone CRLF before a message is none."""

    PINGS = PING
    """The other end opened the connection."""
    PONGS = PONG
    """We did."""


class SipFraming:
    """Cuts a stream into SIP messages; a keep-alive comes out as :data:`PING` or :data:`PONG`.

    Satisfies :class:`~natkit.machine.UnfinishedFraming`.  The buffer holds one incomplete message
    at most, within ``limits``.  Of a message that would be longer the head alone comes out, to be
    answered (RFC 3261 §21.5.7), and its body is passed over.
    """

    def __init__(
        self, expect: Expect = Expect.PONGS, limits: MessageLimits = DEFAULT_LIMITS
    ) -> None:
        self._expect = expect
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        self._wanted = 0
        self._passing_over = 0
        self._failure: MalformedMessage | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._buffer)

    @property
    def is_unfinished(self) -> bool:
        """Whether a message began that has not ended."""
        return bool(self._buffer) or self._passing_over > 0

    def receive(self, data: bytes) -> Sequence[bytes]:
        """Add bytes, take the messages that are complete now.

        Raises MalformedMessage when a message has no single Content-Length, or too long a head.
        Messages before that point are given first, and the next call raises; so what a stream
        yields does not depend on how it was cut.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        messages: list[bytes] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except MalformedMessage as failure:
            self._failure = failure
            self._buffer.clear()
            if not messages:
                raise
        return messages

    def _next(self) -> bytes | None:
        if self._passing_over:
            passed = min(self._passing_over, len(self._buffer))
            del self._buffer[:passed]
            self._passing_over -= passed
        if self._wanted == 0:
            keep_alive = self._between_messages()
            if keep_alive is not None:
                return keep_alive
            self._wanted = self._size()
        if self._wanted == 0 or len(self._buffer) < self._wanted:
            return None
        return self._take(self._wanted)

    def _between_messages(self) -> bytes | None:
        """The keep-alive that the buffer begins with; other CRLFs before a message are dropped."""
        buffer = self._buffer
        if self._searched:
            return None
        if self._expect is Expect.PONGS:
            return self._take(len(PONG)) if buffer.startswith(PONG) else None
        if buffer.startswith(PING):
            return self._take(len(PING))
        # Half a PING is waited for; once something else follows, it was no PING.
        if buffer.startswith(_CRLF) and not PING.startswith(buffer):
            del buffer[: len(_CRLF)]
        return None

    def _size(self) -> int:
        """Bytes of the message at the beginning, 0 while unknown."""
        buffer = self._buffer
        if not buffer or PING.startswith(buffer):
            return 0
        end = buffer.find(EMPTY_LINE, max(0, self._searched - len(EMPTY_LINE) + 1))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) >= self._limits.head + len(EMPTY_LINE):
                raise MalformedMessage(f"no end of the header fields in {self._limits.head} bytes")
            return 0
        if end > self._limits.head:
            raise MalformedMessage(f"{end} bytes of header fields; {self._limits.head} are allowed")
        head_size = end + len(EMPTY_LINE)
        length = _content_length(bytes(buffer[:end]))
        self._searched = 0
        if head_size + length > self._limits.message:
            self._passing_over = length
            return head_size
        return head_size + length

    def _take(self, size: int) -> bytes:
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = self._wanted = 0
        return message


def _content_length(head: bytes) -> int:
    """The length that the head states; all statements must agree (RFC 4475 §3.3.9)."""
    stated = {
        read_number(value.replace(_CRLF, b" ").decode("utf-8", "replace"), LARGEST_LENGTH)
        for value in _CONTENT_LENGTH.findall(head)
    }
    if len(stated) != 1:
        what = "no Content-Length" if not stated else "several Content-Lengths"
        raise MalformedMessage(f"a message on a stream with {what}")
    return stated.pop()
