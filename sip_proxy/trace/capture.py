"""Recorded messages as a capture file, for Wireshark, sngrep and tcpdump.

The format is libpcap's, of raw IP packets.  Each message is one UDP datagram, whatever it travelled
in: what was encrypted can be read too, and no stream need be put together.  What is secret in it is
masked (:mod:`sip_proxy.trace.masking`).
"""

import struct
from collections.abc import Iterable
from typing import Final

from natkit.address import Address
from sip_proxy.trace.masking import masked
from sip_proxy.trace.recorder import Recorded

__all__ = ["as_capture"]

_MAGIC: Final = 0xA1B2C3D4
_VERSION: Final = (2, 4)
_LINKTYPE_RAW: Final = 101
_LONGEST_PACKET: Final = 65_535
_UDP: Final = 17
_HOP_LIMIT: Final = 64
_UDP_HEADER: Final = 8
_IPV4_HEADER: Final = 20
_IPV6_HEADER: Final = 40


def as_capture(messages: Iterable[Recorded], unix_offset: float) -> bytes:
    """The file; what is longer than a packet may be is cut."""
    parts = [struct.pack("!IHHiIII", _MAGIC, *_VERSION, 0, 0, _LONGEST_PACKET, _LINKTYPE_RAW)]
    for each in messages:
        ours, theirs = each.path.local, each.path.remote
        source, destination = (ours, theirs) if each.is_sent else (theirs, ours)
        packet = _packet(source, destination, masked(each.data))
        time = round((each.time + unix_offset) * 1_000_000)
        seconds, microseconds = divmod(time, 1_000_000)
        parts.append(struct.pack("!IIII", seconds, microseconds, len(packet), len(packet)))
        parts.append(packet)
    return b"".join(parts)


def _packet(source: Address, destination: Address, data: bytes) -> bytes:
    """An IP packet with a datagram (RFC 791 §3.1, RFC 8200 §3, RFC 768)."""
    is_ipv6 = len(source.packed) != 4
    room = _LONGEST_PACKET - _UDP_HEADER - (_IPV6_HEADER if is_ipv6 else _IPV4_HEADER)
    data = data[:room]
    addresses = source.packed + destination.packed
    length = _UDP_HEADER + len(data)
    header = struct.pack("!HHH", source.port, destination.port, length)
    # RFC 768, RFC 8200 §8.1; 0 would say that there is no sum.
    pseudo = addresses + struct.pack("!IHBB", length, 0, 0, _UDP)
    total = _checksum(pseudo + header + b"\0\0" + data) or 0xFFFF
    datagram = header + struct.pack("!H", total) + data
    if is_ipv6:
        return struct.pack("!IHBB", 6 << 28, length, _UDP, _HOP_LIMIT) + addresses + datagram
    fields = struct.pack("!BBHHHBB", 0x45, 0, _IPV4_HEADER + length, 0, 0, _HOP_LIMIT, _UDP)
    own = _checksum(fields + b"\0\0" + addresses)
    return fields + struct.pack("!H", own) + addresses + datagram


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum([int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
