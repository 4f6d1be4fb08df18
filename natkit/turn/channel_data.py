"""The ChannelData message: four bytes of header, then a peer's datagram (RFC 8656 §12.4)."""

from dataclasses import dataclass
from typing import Self

from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.framing import CHANNEL_HEADER_LENGTH
from natkit.stun.registry import CHANNEL_FIRST, CHANNEL_LAST_RFC5766
from natkit.turn.registry import CHANNEL_DATA_MAX


def is_channel_data(message: bytes) -> bool:
    """Whether the first byte says ChannelData, in RFC 8656's range or RFC 5766's wider one.

    STUN begins with two zero bits; 128 and above never travels between a client and its server.
    """
    return bool(message) and CHANNEL_FIRST >> 8 <= message[0] <= CHANNEL_LAST_RFC5766 >> 8


@dataclass(frozen=True, slots=True)
class ChannelData:
    """Data on its way to or from the peer that is bound to ``channel``."""

    channel: int
    data: bytes

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """Read one message; bytes after the stated length are padding (RFC 8656 §12.5).

        Raises MalformedMessage when it is no ChannelData or is shorter than it claims (§12.6).
        """
        if not is_channel_data(message):
            raise MalformedMessage("not a ChannelData message")
        if len(message) < CHANNEL_HEADER_LENGTH:
            raise MalformedMessage(f"a ChannelData header of {len(message)} bytes")
        end = CHANNEL_HEADER_LENGTH + int.from_bytes(message[2:4], "big")
        if end > len(message):
            raise MalformedMessage(f"ChannelData of {end} bytes in {len(message)}")
        return cls(int.from_bytes(message[:2], "big"), message[CHANNEL_HEADER_LENGTH:end])

    def encode(self, *, padded: bool) -> bytes:
        """The message in bytes; ``padded`` to a multiple of four, as streams need it (§12.5)."""
        length = len(self.data)
        if length > CHANNEL_DATA_MAX:
            raise MisuseError(f"{length} bytes do not fit a ChannelData message")
        header = self.channel.to_bytes(2, "big") + length.to_bytes(2, "big")
        return header + self.data + bytes(-length % 4 if padded else 0)
