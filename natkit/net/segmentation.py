"""Datagrams alike that the kernel cuts out of one message, so that it takes one way for them all.

On Linux (``UDP_SEGMENT``, since 4.18) datagrams of one size to one address pass the routing, the
filters and the queues together and part as late as they can, at the network card where it knows
how.  What arrives is the same.
"""

import socket
from collections.abc import Sequence
from functools import lru_cache

from natkit.net.libc import HAVE_MMSG, UDP_SEGMENT

__all__ = ["LARGEST_SEGMENT", "can_segment", "longest_run", "run_starts"]

LARGEST_SEGMENT = 1_232
"""Bytes of a datagram that fits every link (RFC 8200 §5: 1,280 with IPv6's header and UDP's).  The
system refuses to cut one that does not fit its own link, which it would send in fragments."""

LONGEST_RUN = 65_487
"""Bytes that fit one message over IPv6 or IPv4."""

MOST_SEGMENTS = 64
"""Of one message (UDP_MAX_SEGMENTS in <linux/udp.h>; later kernels allow more)."""


@lru_cache(1)
def can_segment() -> bool:
    """Whether this system cuts datagrams."""
    if not HAVE_MMSG:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
        except OSError:
            return False
    return True


def longest_run(size: int) -> int:
    """How many datagrams of ``size`` bytes one message may have."""
    if 0 < size <= LARGEST_SEGMENT:
        return min(MOST_SEGMENTS, LONGEST_RUN // size)
    return 1


def run_starts(sizes: Sequence[int], names: Sequence[bytes]) -> list[int]:
    """Places where a new message must begin, of datagrams so long and to whom."""
    starts: list[int] = []
    size, name, room = -1, b"", 0
    for place, (next_size, next_name) in enumerate(zip(sizes, names, strict=True)):
        if room and next_size == size and next_name == name:
            room -= 1
        else:
            starts.append(place)
            size, name, room = next_size, next_name, longest_run(next_size) - 1
    return starts
