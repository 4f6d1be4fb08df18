"""What a packet is, by its first bytes: protocols that share one port (RFC 7983 §7, RFC 9443)."""

from enum import Enum, auto

from natkit.stun.registry import HEADER_LENGTH, MAGIC_COOKIE_BYTES, MessageClass, Method
from natkit.stun.registry import message_type as type_of

STUN_LAST_FIRST_BYTE = 3
"""The highest first byte of a STUN message whose method IANA may assign (RFC 7983 §5)."""

_CLASSIC_BINDING_REQUEST = type_of(Method.BINDING, MessageClass.REQUEST).to_bytes(2, "big")


class PacketKind(Enum):
    """Protocols by the range of their first byte (RFC 7983 Figure 3, RFC 9443 Figure 1)."""

    STUN = auto()
    ZRTP = auto()
    DTLS = auto()
    CHANNEL_DATA = auto()
    RTP = auto()
    """RTP or RTCP: version 2, whatever the payload type."""
    QUIC = auto()
    UNKNOWN = auto()
    """Empty, or of a range that is nobody's."""


def classify(data: bytes) -> PacketKind:
    """The protocol of a datagram by its first byte, and for STUN by :func:`is_stun` too.

    A port that carries TURN channels carries no QUIC below 192: 64 to 79 is ChannelData here.
    """
    if not data:
        return PacketKind.UNKNOWN
    first = data[0]
    if first <= STUN_LAST_FIRST_BYTE:
        return PacketKind.STUN if is_stun(data) else PacketKind.UNKNOWN
    if 16 <= first <= 19:
        return PacketKind.ZRTP
    if 20 <= first <= 63:
        return PacketKind.DTLS
    if 64 <= first <= 79:
        return PacketKind.CHANNEL_DATA
    if 80 <= first <= 127 or first >= 192:
        return PacketKind.QUIC
    return PacketKind.RTP if first >= 128 else PacketKind.UNKNOWN


def is_stun(data: bytes) -> bool:
    """Whether a datagram is STUN: first byte, magic cookie and length agree (RFC 8489 §5, §6.3)."""
    return (
        len(data) >= HEADER_LENGTH
        and data[0] <= STUN_LAST_FIRST_BYTE
        and data[4:8] == MAGIC_COOKIE_BYTES
        and _has_stated_length(data)
    )


def is_classic_binding_request(data: bytes) -> bool:
    """Whether a datagram without the magic cookie is a Binding request of RFC 3489 (§8.1).

    Only for the ports of a STUN server, which carry nothing else: the cookie is what tells STUN
    from other protocols (RFC 8489 §7).
    """
    return (
        len(data) >= HEADER_LENGTH
        and data[:2] == _CLASSIC_BINDING_REQUEST
        and data[4:8] != MAGIC_COOKIE_BYTES
        and _has_stated_length(data)
    )


def _has_stated_length(data: bytes) -> bool:
    stated = int.from_bytes(data[2:4], "big")
    return stated == len(data) - HEADER_LENGTH and stated % 4 == 0
