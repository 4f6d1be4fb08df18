"""An endless supply of hostile datagrams, drawn from one seed: random, mutated, and well-protected.

:class:`Hostile` needs valid messages to start from (``seeds``) and, if it is to reach what lies
behind the credentials, a ``protect`` that signs what it made.
"""

import random
from collections.abc import Callable, Iterator, Sequence

from natkit.stun.registry import (
    HEADER_LENGTH,
    MAGIC_COOKIE_BYTES,
    AttributeType,
    DraftAttributeType,
    MessageClass,
    Method,
    message_type,
)

LONGEST = 1500
"""Bytes of the longest datagram; longer ones take other paths nowhere in the code."""

TYPES = sorted({int(each) for each in (*AttributeType, *DraftAttributeType)} | {0x7F00, 0xFF00})
TURN_TYPES = tuple(range(0x000C, 0x001B))
"""Types that TURN's requests are made of, and their unassigned neighbours: drawn more often."""

INTERESTING = (0x00, 0x01, 0x02, 0x03, 0x04, 0x08, 0x14, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xFF)

Attributes = list[tuple[int, bytes]]


class Hostile:
    """Datagrams without end; the same seed gives the same ones."""

    def __init__(
        self,
        seed: int,
        seeds: Sequence[bytes],
        protect: Callable[[int, Attributes], bytes] | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self._seeds = list(seeds)
        self._protect = protect
        self._kinds = [
            self.noise,
            self.headed_noise,
            self.attributes,
            self.mutated,
            self.mutated,
            self.mutated,
            self.spliced,
            self.cut,
            self.channel_data,
        ]
        if protect is not None:
            self._kinds += [self.protected, self.protected]

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._random.choice(self._kinds)()

    def noise(self) -> bytes:
        """Anything."""
        return self._bytes(self._random.choice((0, 1, 4, 20, 40, 200, LONGEST)))

    def headed_noise(self) -> bytes:
        """A right header before anything."""
        body = self._bytes(200)
        return self._header(body[: len(body) & ~3])

    def attributes(self) -> bytes:
        """A right message of attributes with values that may be wrong."""
        return self._header(_encode(self._draw_attributes()))

    def protected(self) -> bytes:
        """A request with a right HMAC over attributes with values that may be wrong."""
        assert self._protect is not None
        method = self._random.choice((*Method, *Method, 0x002, 0xFF))
        return self._protect(method, self._draw_attributes())

    def mutated(self) -> bytes:
        """A valid message with some bytes changed."""
        data = bytearray(self._seed())
        for _ in range(self._random.choice((1, 1, 1, 2, 4, 16))):
            position = self._random.randrange(len(data))
            match self._random.randrange(4):
                case 0:
                    data[position] ^= 1 << self._random.randrange(8)
                case 1:
                    data[position] = self._random.choice(INTERESTING)
                case 2:
                    data[position] = self._random.randrange(256)
                case _:
                    # Never less than a byte, so that there is always one to change.
                    stop = position + 1 + self._random.randrange(8)
                    data[position:stop] = self._bytes(8) or b"\0"
        if self._random.random() < 0.5:
            _right_the_length(data)
        return bytes(data)

    def spliced(self) -> bytes:
        """The start of one valid message and the end of another."""
        one, other = self._seed(), self._seed()
        data = bytearray(
            one[: self._random.randrange(0, len(one) + 1, 4)]
            + other[self._random.randrange(0, len(other), 4) :]
        )
        _right_the_length(data)
        return bytes(data)

    def cut(self) -> bytes:
        """A valid message with its end missing or with more behind it."""
        data = bytearray(self._seed())
        if self._random.random() < 0.5:
            del data[self._random.randrange(len(data)) :]
        else:
            data += self._bytes(64)
        if self._random.random() < 0.3:
            _right_the_length(data)
        return bytes(data)

    def channel_data(self) -> bytes:
        """ChannelData whose channel and length may be wrong."""
        channel = self._random.choice((0x4000, 0x4000, 0x4001, 0x4FFF, 0x5000, 0x7FFF))
        data = self._bytes(40)
        length = len(data) if self._random.random() < 0.6 else self._random.randrange(0x10000)
        return channel.to_bytes(2, "big") + length.to_bytes(2, "big") + data

    def _seed(self) -> bytes:
        return self._random.choice(self._seeds)

    def _bytes(self, longest: int) -> bytes:
        return self._random.randbytes(self._random.randint(0, longest))

    def _header(self, body: bytes) -> bytes:
        kind = message_type(self._random.choice(list(Method)), self._random.choice([*MessageClass]))
        length = len(body).to_bytes(2, "big")
        return kind.to_bytes(2, "big") + length + MAGIC_COOKIE_BYTES + self._bytes_of(12) + body

    def _bytes_of(self, length: int) -> bytes:
        return self._random.randbytes(length)

    def _draw_attributes(self) -> Attributes:
        count = self._random.choice((0, 1, 2, 3, 5, 9))
        types = self._random.choice((TYPES, TURN_TYPES))
        return [(self._random.choice(types), self._value()) for _ in range(count)]

    def _value(self) -> bytes:
        length = self._random.choice((0, 1, 3, 4, 4, 4, 8, 8, 16, 20, 20, 32, 60, 764))
        value = bytearray(self._bytes_of(length))
        if length in (8, 20) and self._random.random() < 0.7:
            value[:2] = b"\0\1" if length == 8 else b"\0\2"
        elif length == 4 and self._random.random() < 0.5:
            value[:] = self._random.choice((b"\x11\0\0\0", b"\1\0\0\0", b"\x40\0\0\0", bytes(4)))
        return bytes(value)


def _encode(attributes: Attributes) -> bytes:
    return b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for number, value in attributes
    )


def _right_the_length(data: bytearray) -> None:
    del data[len(data) & ~3 :]
    if len(data) >= HEADER_LENGTH:
        data[2:4] = (len(data) - HEADER_LENGTH).to_bytes(2, "big")


def is_wellformed_request(data: bytes) -> bool:
    """Whether a datagram could deserve an answer, judged without the codec under test.

    A header of a request with the right length (with the cookie, or of a classic Binding), and
    attributes that fill the rest exactly.
    """
    if len(data) < HEADER_LENGTH or data[0] & 0xC1 or data[1] & 0x10:
        return False
    classic = data[4:8] != MAGIC_COOKIE_BYTES
    if classic and data[:2] != b"\0\1":
        return False
    if int.from_bytes(data[2:4], "big") != len(data) - HEADER_LENGTH or len(data) % 4:
        return False
    offset = HEADER_LENGTH
    while offset < len(data):
        length = int.from_bytes(data[offset + 2 : offset + 4], "big")
        offset += 4 + length + -length % 4
    return offset == len(data)
