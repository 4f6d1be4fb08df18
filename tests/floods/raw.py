"""Datagrams with forged sources, by a raw socket; only for a network namespace that a test made."""

import socket
import struct
import time
from collections.abc import Sequence

from natkit.address import Address
from natkit.net import sockaddr
from natkit.net.batch import Endpoint, datagram_batch

__all__ = ["LONGEST", "MORE_FRAGMENTS", "datagram", "send_evenly"]

LONGEST = 120.0
"""Seconds after which a flood ends whatever it was told."""

MORE_FRAGMENTS = 0x2000
"""In the word that has a fragment's offset (RFC 791 §3.1)."""

_BURST = 32
_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")


def datagram(
    source: Address,
    destination: Address,
    data: bytes,
    *,
    length: int | None = None,
    identification: int = 0,
    fragment: int = 0,
) -> bytes:
    """An IPv4 packet that claims to come from ``source``.

    UDP's ``length`` is that of the data where none is given.  The system fills in an identification
    of 0; a packet that is a ``fragment`` needs its own.
    """
    # Without a checksum, which UDP may leave out over IPv4 (RFC 768); the system fills in IP's.
    size = _UDP.size + len(data) if length is None else length
    udp = _UDP.pack(source.port, destination.port, size, 0) + data
    whole = (_IP.size + len(udp), identification, fragment)
    head = (0x45, 0, *whole, 64, socket.IPPROTO_UDP, 0)
    return _IP.pack(*head, source.packed, destination.packed) + udp


def send_evenly(packets: Sequence[bytes], destination: Address, rate: int, seconds: float) -> int:
    """Send them over and over, ``rate`` a second for so many seconds; how many were sent."""
    batch = datagram_batch(capacity=len(packets), datagram_size=max(map(len, packets)))
    name = sockaddr.pack(Address(destination.host, 0))
    placed = []
    for start, packet in zip(batch.starts, packets, strict=True):
        batch.buffer[start : start + len(packet)] = packet
        placed.append((start, len(packet), name))
    lasting = min(seconds, LONGEST)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        endpoint = Endpoint(sock)
        begin = time.monotonic()
        sent = place = 0
        while (elapsed := time.monotonic() - begin) < lasting:
            due = min(int(elapsed * rate) - sent, _BURST)
            if due <= 0:
                time.sleep(_BURST / rate)
                continue
            burst = placed[place : place + due]
            batch.send(endpoint, burst)
            sent += len(burst)
            place = (place + len(burst)) % len(placed)
    return sent
