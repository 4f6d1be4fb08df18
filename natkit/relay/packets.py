"""The formats of the packets that a plane treats by itself.

They are read and written by offset in a buffer that holds more than the packet, so its bounds are
checked here against the packet's own end.
"""

import mmap
import struct
from functools import lru_cache

from natkit.address import Family
from natkit.net import sockaddr
from natkit.stun.registry import (
    CHANNEL_FIRST,
    CHANNEL_LAST_RFC5766,
    HEADER_LENGTH,
    MAGIC_COOKIE,
    MAGIC_COOKIE_BYTES,
    AttributeType,
    MessageClass,
    Method,
    message_type,
)

__all__ = [
    "BINDING_ANSWER_LENGTH",
    "CHANNEL_DATA_HEAD_END",
    "CHANNEL_DATA_HEAD_START",
    "CHANNEL_FIRST_BYTES",
    "CHANNEL_HEADER",
    "CHANNEL_HEADER_LENGTH",
    "IPV4_ANSWER",
    "IPV4_NAME_MASK",
    "LARGEST_DATA",
    "LARGEST_HEADER",
    "PLAIN_BINDING_REQUEST",
    "SEND_INDICATION",
    "answer_binding",
    "data_indication_header",
    "data_size",
    "parse_send",
    "read_word",
    "two_words",
    "write_channel_header",
]

two_words = struct.Struct("!II").unpack_from
"""The first two words of a packet: type and length, and what is the cookie in a STUN message."""

read_word = struct.Struct("!I").unpack_from
"""The first word alone, in a tuple."""

PLAIN_BINDING_REQUEST = message_type(Method.BINDING, MessageClass.REQUEST) << 16, MAGIC_COOKIE
"""The first two words of a Binding request without attributes."""

BINDING_ANSWER_LENGTH = {sockaddr.IPV4_SIZE: 32, sockaddr.IPV6_SIZE: 44}
"""Bytes of the answer to it, by the size of the client's socket address."""

SEND_INDICATION = message_type(Method.SEND, MessageClass.INDICATION)

CHANNEL_HEADER = struct.Struct("!HH")
"""Channel number and length of the data (RFC 8656 §12.4)."""

write_channel_header = CHANNEL_HEADER.pack_into
"""Takes a buffer, where in it to write, the channel and the length."""

CHANNEL_HEADER_LENGTH = CHANNEL_HEADER.size
CHANNEL_DATA_HEAD_START = CHANNEL_FIRST << 16
"""The least first word of ChannelData; CHANNEL_DATA_HEAD_END is above the greatest."""
CHANNEL_DATA_HEAD_END = (CHANNEL_LAST_RFC5766 + 1) << 16
CHANNEL_FIRST_BYTES = range(CHANNEL_FIRST >> 8, (CHANNEL_LAST_RFC5766 >> 8) + 1)

_ATTRIBUTE = struct.Struct("!HH")
_ADDRESS_LENGTH: dict[int, int] = {Family.IPV4: 8, Family.IPV6: 20}
_HEADER = struct.Struct("!HHI12s")

# A Send indication up to its data, whose peer is on IPv4: type, length and cookie; type and length
# of XOR-PEER-ADDRESS in one, its family, port and address; type and length of DATA.  And the same
# for a Data indication, with the transaction id.
_USUAL_SEND = struct.Struct("!HHI12xIxBHIHH")
_USUAL_DATA = struct.Struct("!HHI12sIxBHIHH")
_port_and_host = struct.Struct("!HI").unpack_from
_IPV4_PEER = AttributeType.XOR_PEER_ADDRESS << 16 | 8
_IPV4 = int(Family.IPV4)
_DATA = int(AttributeType.DATA)
_NAMES_KEPT = 4096

LARGEST_HEADER = HEADER_LENGTH + _ATTRIBUTE.size + 20 + _ATTRIBUTE.size
"""What stands before the data in a Data indication from an IPv6 peer."""

LARGEST_DATA = 0xFFFC - (LARGEST_HEADER - HEADER_LENGTH)
"""What fits a Data indication from an IPv6 peer (RFC 8489 §5: the length is a multiple of four in
16 bits); only a loopback interface carries longer datagrams."""

# RFC 8489 §14.2: port and IPv4 address are combined with the cookie's first bytes.
_IPV4_MASK = (MAGIC_COOKIE >> 16) << 32 | MAGIC_COOKIE
_PORT_MASK = MAGIC_COOKIE >> 16

_BINDING_SUCCESS = message_type(Method.BINDING, MessageClass.SUCCESS_RESPONSE)
_DATA_INDICATION = message_type(Method.DATA, MessageClass.INDICATION)


def _mapped_head(family: Family) -> tuple[bytes, bytes]:
    """How a Binding success for a client of ``family`` begins, and its attribute's first bytes."""
    length = _ADDRESS_LENGTH[family]
    return (
        _ATTRIBUTE.pack(_BINDING_SUCCESS, _ATTRIBUTE.size + length),
        _ATTRIBUTE.pack(AttributeType.XOR_MAPPED_ADDRESS, length) + bytes([0, family]),
    )


_IPV4_SUCCESS, _IPV4_MAPPED = _mapped_head(Family.IPV4)
_IPV6_SUCCESS, _IPV6_MAPPED = _mapped_head(Family.IPV6)

IPV4_ANSWER = _IPV4_SUCCESS, _IPV4_MAPPED[:4]
"""What stands in the answer to a client on IPv4 in place of the first word, and after the header;
the value of XOR-MAPPED-ADDRESS follows."""

IPV4_NAME_MASK = bytes(
    one ^ other
    for one, other in zip(
        sockaddr.of_parts(bytes(4), 0),
        _IPV4_MAPPED[4:] + _IPV4_MASK.to_bytes(6, "big") + bytes(8),
        strict=True,
    )
)
"""Combined with a client's socket address this gives that value in its first eight bytes."""


def answer_binding(buffer: mmap.mmap, start: int, name: bytes) -> int:
    """Turn the header at ``start`` into a success response for ``name``; the response's length.

    RFC 8489 §6.3.1.1 with XOR-MAPPED-ADDRESS alone; cookie and transaction id stay in place.
    """
    if len(name) == sockaddr.IPV4_SIZE:
        buffer[start : start + 4] = _IPV4_SUCCESS
        mapped = int.from_bytes(name[2:8], "big") ^ _IPV4_MASK
        buffer[start + 20 : start + 32] = _IPV4_MAPPED + mapped.to_bytes(6, "big")
        return 32
    buffer[start : start + 4] = _IPV6_SUCCESS
    buffer[start + 20 : start + 44] = _IPV6_MAPPED + _xor_ipv6(
        sockaddr.port_of(name), sockaddr.host_bytes(name), buffer[start + 4 : start + 20]
    )
    return 44


def data_indication_header(name: bytes, transaction_id: bytes, size: int) -> bytes:
    """What stands before ``size`` bytes of data from ``name`` (RFC 8656 §11.3).

    Zeros up to a multiple of four must follow the data (RFC 8489 §14).
    """
    if len(name) == sockaddr.IPV4_SIZE:
        port, host = _port_and_host(name, 2)
        return _USUAL_DATA.pack(
            _DATA_INDICATION,
            _USUAL_DATA.size - HEADER_LENGTH + size + -size % 4,
            MAGIC_COOKIE,
            transaction_id,
            _IPV4_PEER,
            _IPV4,
            port ^ _PORT_MASK,
            host ^ MAGIC_COOKIE,
            _DATA,
            size,
        )
    value = bytes([0, Family.IPV6]) + _xor_ipv6(
        sockaddr.port_of(name), sockaddr.host_bytes(name), MAGIC_COOKIE_BYTES + transaction_id
    )
    length = _ATTRIBUTE.size + len(value) + _ATTRIBUTE.size + size + -size % 4
    return b"".join(
        (
            _HEADER.pack(_DATA_INDICATION, length, MAGIC_COOKIE, transaction_id),
            _ATTRIBUTE.pack(AttributeType.XOR_PEER_ADDRESS, len(value)),
            value,
            _ATTRIBUTE.pack(AttributeType.DATA, size),
        )
    )


def data_size(buffer: bytes | mmap.mmap, begin: int) -> int:
    """How much data is in the ChannelData or the Data indication that was written to ``begin``."""
    size: int
    kind, size = CHANNEL_HEADER.unpack_from(buffer, begin)
    if kind == _DATA_INDICATION:
        _, address_length = _ATTRIBUTE.unpack_from(buffer, begin + HEADER_LENGTH)
        data = begin + HEADER_LENGTH + _ATTRIBUTE.size + address_length
        _, size = _ATTRIBUTE.unpack_from(buffer, data)
    return size


def parse_send(data: bytes | mmap.mmap, start: int, end: int) -> tuple[bytes, int, int] | None:
    """Read a Send indication of one XOR-PEER-ADDRESS and one DATA, in either order.

    Gives the peer's socket address, where the data starts and its size; None for anything else.
    """
    if end - start >= _USUAL_SEND.size:
        # What nearly all clients send: an IPv4 peer, then the data.
        kind, length, cookie, peer, family, port, host, data_type, size = _USUAL_SEND.unpack_from(
            data, start
        )
        if (
            kind == SEND_INDICATION
            and cookie == MAGIC_COOKIE
            and length == end - start - HEADER_LENGTH
            and peer == _IPV4_PEER
            and family == _IPV4
            and data_type == _DATA
            and start + _USUAL_SEND.size + size + -size % 4 == end
        ):
            return _ipv4_name(port, host), start + _USUAL_SEND.size, size
    if end - start < HEADER_LENGTH:
        return None
    kind, length, cookie, _ = _HEADER.unpack_from(data, start)
    if (
        kind != SEND_INDICATION
        or cookie != MAGIC_COOKIE
        or start + HEADER_LENGTH + length != end
        or length % 4
    ):
        return None
    name: bytes | None = None
    payload: tuple[int, int] | None = None
    offset = start + HEADER_LENGTH
    while offset < end:
        kind, size = _ATTRIBUTE.unpack_from(data, offset)
        value = offset + _ATTRIBUTE.size
        offset = value + size + -size % 4
        if offset > end:
            return None
        if kind == AttributeType.XOR_PEER_ADDRESS and name is None:
            name = _read_xor_address(data[value : value + size], data[start + 4 : start + 20])
            if name is None:
                return None
        elif kind == AttributeType.DATA and payload is None:
            payload = value, size
        else:
            return None
    if name is None or payload is None:
        return None
    return name, *payload


@lru_cache(_NAMES_KEPT)
def _ipv4_name(port: int, host: int) -> bytes:
    """The socket address of what stands in an XOR-PEER-ADDRESS."""
    return sockaddr.of_parts((host ^ MAGIC_COOKIE).to_bytes(4, "big"), port ^ _PORT_MASK)


def _read_xor_address(value: bytes, cookie_and_id: bytes) -> bytes | None:
    """The socket address in an XOR-PEER-ADDRESS, or None when it holds none."""
    if len(value) < 4 or _ADDRESS_LENGTH.get(value[1]) != len(value):
        return None
    port = int.from_bytes(value[2:4], "big") ^ _PORT_MASK
    host = int.from_bytes(value[4:], "big") ^ int.from_bytes(cookie_and_id[: len(value) - 4], "big")
    return sockaddr.of_parts(host.to_bytes(len(value) - 4, "big"), port)


def _xor_ipv6(port: int, host: bytes, cookie_and_id: bytes) -> bytes:
    """Port and address of an IPv6 XOR-address attribute (RFC 8489 §14.2)."""
    mixed = int.from_bytes(host, "big") ^ int.from_bytes(cookie_and_id, "big")
    return (port ^ _PORT_MASK).to_bytes(2, "big") + mixed.to_bytes(16, "big")
