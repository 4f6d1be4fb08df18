"""A flood with forged sources, by a raw socket; only for a network namespace that a test made.

It stops by itself.  ::

    python -m tests.floods.raw_flood SERVER PORT SOURCES RATE SECONDS
"""

import socket
import struct
import sys
import time

from natkit.stun.attributes import RequestedTransport
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method

LONGEST = 120.0
"""Seconds after which it ends whatever it was told."""

_BURST = 32
_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")


def packets(server: str, port: int, sources: int) -> list[bytes]:
    """One Allocate of each forged source, 11.0.0.7 and so on, each in a /24 of its own."""
    destination = socket.inet_aton(server)
    formed = []
    for number in range(sources):
        request = Message.request(
            Method.ALLOCATE, number.to_bytes(12, "big"), RequestedTransport(UDP_PROTOCOL)
        ).encode()
        host = bytes((11, number >> 8 & 255, number & 255, 7))
        # Without a checksum, which UDP may leave out over IPv4 (RFC 768); the system fills in IP's.
        datagram = _UDP.pack(1_024 + number % 60_000, port, _UDP.size + len(request), 0) + request
        length = _IP.size + len(datagram)
        header = _IP.pack(0x45, 0, length, 0, 0, 64, socket.IPPROTO_UDP, 0, host, destination)
        formed.append(header + datagram)
    return formed


def main(server: str, port: str, sources: str, rate: str, seconds: str) -> None:
    """Send at ``rate`` packets a second for so many seconds; print how many were sent."""
    formed = packets(server, int(port), int(sources))
    per_second, lasting = int(rate), min(float(seconds), LONGEST)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        start = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - start) < lasting:
            due = int(elapsed * per_second)
            if sent >= due:
                time.sleep(_BURST / per_second)
                continue
            for _ in range(min(_BURST, due - sent)):
                sock.sendto(formed[sent % len(formed)], (server, 0))
                sent += 1
    print(sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
