"""The numbers of ICMP that are named here, and those of SOCKS proxies."""

from enum import IntEnum
from typing import Final


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


# ── SOCKS 5 ─────────────────────────────────────────────────────────────────────────────────────

SOCKS_VERSION: Final = 5
"""RFC 1928 §3."""

SOCKS_PASSWORD_VERSION: Final = 1
"""RFC 1929 §2."""

SOCKS_SUCCEEDED: Final = 0
"""A reply's, and that of a password's acceptance (RFC 1928 §6, RFC 1929 §2)."""

SOCKS_CONNECT: Final = 1
"""RFC 1928 §4."""


class SocksMethod(IntEnum):
    """How a client proves who it is (RFC 1928 §3)."""

    NONE = 0x00
    PASSWORD = 0x02
    NOT_ACCEPTABLE = 0xFF


class SocksAddressType(IntEnum):
    """RFC 1928 §5."""

    IPV4 = 1
    DOMAIN_NAME = 3
    IPV6 = 4


SOCKS_REPLIES: Final = {
    1: "it failed",
    2: "its rules do not allow it",
    3: "it cannot reach the network",
    4: "it cannot reach the host",
    5: "the host refused the connection",
    6: "it gave the connection up",
    7: "it does not connect at all",
    8: "it knows no such addresses",
}
"""RFC 1928 §6."""
