"""The numbers of ICMP that are named here: types, and one code."""

from enum import IntEnum


class IcmpType(IntEnum):
    """Errors of ICMP for IPv4."""

    DESTINATION_UNREACHABLE = 3  # RFC 792
    TIME_EXCEEDED = 11  # RFC 792


class Icmp6Type(IntEnum):
    """Errors of ICMP for IPv6."""

    DESTINATION_UNREACHABLE = 1  # RFC 4443 §3.1
    PACKET_TOO_BIG = 2  # RFC 4443 §3.2
    TIME_EXCEEDED = 3  # RFC 4443 §3.3


FRAGMENTATION_NEEDED = 4
"""The code of DESTINATION_UNREACHABLE for a packet that may not be fragmented (RFC 1191 §4)."""
