"""The numbers of multicast DNS (RFC 6762)."""

from enum import IntFlag
from typing import Final

PORT: Final = 5353
"""Of every message, either way (RFC 6762 §5.2, §6)."""

GROUP_IPV4: Final = "224.0.0.251"  # RFC 6762 §3
GROUP_IPV6: Final = "ff02::fb"  # RFC 6762 §3

HOP_LIMIT: Final = 255
"""With which messages are sent (RFC 6762 §11)."""

CLASS_IN: Final = 1  # RFC 1035 §3.2.4
CLASS_ANY: Final = 255  # RFC 1035 §3.2.5

TOP_BIT: Final = 0x8000
"""Of a class: in a question, answers may come by unicast (RFC 6762 §5.4); in a record, it is the
only one of its name and type (§10.2)."""

HOST_TTL: Final = 120
"""Seconds that a record with an address may be kept (RFC 6762 §10)."""

LEGACY_TTL: Final = 10
"""The same in answers to those who do not speak multicast DNS in full (RFC 6762 §6.7)."""

LONGEST_MESSAGE: Final = 9000
"""Bytes of a message with the headers of IP and UDP (RFC 6762 §17)."""


class HeaderBits(IntFlag):
    """The flags of a message as far as multicast DNS reads them (RFC 6762 §18)."""

    RESPONSE = 0x8000
    AUTHORITATIVE = 0x0400
    OPCODE = 0x7800
    RCODE = 0x000F
