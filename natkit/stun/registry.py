"""Every number of the STUN family on the wire, once, with the RFC that assigns it."""

from enum import Enum, IntEnum, IntFlag
from functools import cache

HEADER_LENGTH = 20
"""Bytes before the first attribute (RFC 8489 §5)."""

MAGIC_COOKIE = 0x2112A442
"""Bytes 4 to 7 of every message since RFC 5389 (RFC 8489 §5)."""

MAGIC_COOKIE_BYTES = MAGIC_COOKIE.to_bytes(4, "big")

TRANSACTION_ID_LENGTH = 12
"""Bytes of a transaction id (RFC 8489 §5)."""

CLASSIC_TRANSACTION_ID_LENGTH = 16
"""Bytes of a transaction id where there is no magic cookie (RFC 3489 §11.1)."""

FINGERPRINT_XOR = 0x5354554E
"""What the CRC-32 of a message is combined with in FINGERPRINT (RFC 8489 §14.7)."""

NONCE_COOKIE = b"obMatJos2"
"""The start of a nonce whose server knows RFC 8489 (§9.2)."""

CHANNEL_FIRST = 0x4000
"""The lowest channel number (RFC 8656 §12)."""

CHANNEL_LAST = 0x4FFF
"""The highest channel number of RFC 8656 §12."""

CHANNEL_LAST_RFC5766 = 0x7FFF
"""The highest channel number of RFC 5766 §11, which older clients still draw."""

UDP_PROTOCOL = 17
"""REQUESTED-TRANSPORT for UDP (RFC 8656 §18.8)."""

TCP_PROTOCOL = 6
"""REQUESTED-TRANSPORT for TCP (RFC 6062 §4.1)."""

DEFAULT_PORT = 3478
"""STUN and TURN over UDP and TCP (RFC 8489 §18.6, RFC 8656 §21)."""

DEFAULT_TLS_PORT = 5349
"""STUN and TURN over TLS and DTLS (RFC 8489 §18.6, RFC 8656 §21)."""


class MessageClass(IntEnum):
    """The class bits C1 C0 of a message type (RFC 8489 §5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS_RESPONSE = 2
    ERROR_RESPONSE = 3


class Method(IntEnum):
    """STUN methods (RFC 8489 §18.2)."""

    BINDING = 0x001  # RFC 8489 §3
    ALLOCATE = 0x003  # RFC 8656 §17
    REFRESH = 0x004  # RFC 8656 §17
    SEND = 0x006  # RFC 8656 §17
    DATA = 0x007  # RFC 8656 §17
    CREATE_PERMISSION = 0x008  # RFC 8656 §17
    CHANNEL_BIND = 0x009  # RFC 8656 §17
    CONNECT = 0x00A  # RFC 6062 §6.1
    CONNECTION_BIND = 0x00B  # RFC 6062 §6.1
    CONNECTION_ATTEMPT = 0x00C  # RFC 6062 §6.1


METHOD_MAXIMUM = 0xFFF
"""Methods have twelve bits (RFC 8489 §5)."""


_CLASSES = tuple(MessageClass)


@cache
def message_type(method: int, message_class: MessageClass) -> int:
    """The first two bytes of a message: method and class bits interleaved (RFC 8489 §5)."""
    return (
        (method & 0xF80) << 2
        | (method & 0x070) << 1
        | (method & 0x00F)
        | (message_class & 2) << 7
        | (message_class & 1) << 4
    )


@cache
def split_message_type(number: int) -> tuple[int, MessageClass]:
    """Method and class of a message type whose top two bits are zero (RFC 8489 §5)."""
    method = (number & 0x3E00) >> 2 | (number & 0x00E0) >> 1 | (number & 0x000F)
    return method, _CLASSES[(number & 0x0100) >> 7 | (number & 0x0010) >> 4]


class AttributeType(IntEnum):
    """Attribute types that natkit understands, by IANA's names (RFC 8489 §18.3)."""

    MAPPED_ADDRESS = 0x0001  # RFC 8489 §14.1
    RESPONSE_ADDRESS = 0x0002  # RFC 3489 §11.2.2
    CHANGE_REQUEST = 0x0003  # RFC 5780 §7.2
    SOURCE_ADDRESS = 0x0004  # RFC 3489 §11.2.5
    CHANGED_ADDRESS = 0x0005  # RFC 3489 §11.2.3
    USERNAME = 0x0006  # RFC 8489 §14.3
    PASSWORD = 0x0007  # RFC 3489 §11.2.7
    MESSAGE_INTEGRITY = 0x0008  # RFC 8489 §14.5
    ERROR_CODE = 0x0009  # RFC 8489 §14.8
    UNKNOWN_ATTRIBUTES = 0x000A  # RFC 8489 §14.13
    REFLECTED_FROM = 0x000B  # RFC 3489 §11.2.11
    CHANNEL_NUMBER = 0x000C  # RFC 8656 §18.1
    LIFETIME = 0x000D  # RFC 8656 §18.2
    XOR_PEER_ADDRESS = 0x0012  # RFC 8656 §18.3
    DATA = 0x0013  # RFC 8656 §18.4
    REALM = 0x0014  # RFC 8489 §14.9
    NONCE = 0x0015  # RFC 8489 §14.10
    XOR_RELAYED_ADDRESS = 0x0016  # RFC 8656 §18.5
    REQUESTED_ADDRESS_FAMILY = 0x0017  # RFC 8656 §18.6
    EVEN_PORT = 0x0018  # RFC 8656 §18.7
    REQUESTED_TRANSPORT = 0x0019  # RFC 8656 §18.8
    DONT_FRAGMENT = 0x001A  # RFC 8656 §18.9
    ACCESS_TOKEN = 0x001B  # RFC 7635 §6.2
    MESSAGE_INTEGRITY_SHA256 = 0x001C  # RFC 8489 §14.6
    PASSWORD_ALGORITHM = 0x001D  # RFC 8489 §14.12
    USERHASH = 0x001E  # RFC 8489 §14.4
    XOR_MAPPED_ADDRESS = 0x0020  # RFC 8489 §14.2
    RESERVATION_TOKEN = 0x0022  # RFC 8656 §18.10
    PRIORITY = 0x0024  # RFC 8445 §16.1
    USE_CANDIDATE = 0x0025  # RFC 8445 §16.1
    PADDING = 0x0026  # RFC 5780 §7.6
    RESPONSE_PORT = 0x0027  # RFC 5780 §7.5
    CONNECTION_ID = 0x002A  # RFC 6062 §6.2
    ADDITIONAL_ADDRESS_FAMILY = 0x8000  # RFC 8656 §18.11
    ADDRESS_ERROR_CODE = 0x8001  # RFC 8656 §18.12
    PASSWORD_ALGORITHMS = 0x8002  # RFC 8489 §14.11
    ALTERNATE_DOMAIN = 0x8003  # RFC 8489 §14.16
    ICMP = 0x8004  # RFC 8656 §18.13
    SOFTWARE = 0x8022  # RFC 8489 §14.14
    ALTERNATE_SERVER = 0x8023  # RFC 8489 §14.15
    CACHE_TIMEOUT = 0x8027  # RFC 5780 §9.1
    FINGERPRINT = 0x8028  # RFC 8489 §14.7
    ICE_CONTROLLED = 0x8029  # RFC 8445 §16.1
    ICE_CONTROLLING = 0x802A  # RFC 8445 §16.1
    RESPONSE_ORIGIN = 0x802B  # RFC 5780 §7.3
    OTHER_ADDRESS = 0x802C  # RFC 5780 §7.4
    THIRD_PARTY_AUTHORIZATION = 0x802E  # RFC 7635 §6.1
    MOBILITY_TICKET = 0x8030  # RFC 8016 §3.1


class DraftAttributeType(IntEnum):
    """Attribute types in use that IANA never assigned; each names its draft.

    Each could come to mean something else.  IANA has since given 0xC001 to
    ENF-FLOW-DESCRIPTION, which no ICE agent sends.
    """

    ORIGIN = 0x802F  # draft-johnston-tram-stun-origin
    # draft-martinsen-tram-ssoda: what RFC 8656 §18.11 has as 0x8000; coturn and its clients use it.
    SSODA_ADDITIONAL_ADDRESS_FAMILY = 0x8032
    NOMINATION = 0xC001  # draft-thatcher-ice-renomination


FIRST_COMPREHENSION_OPTIONAL = 0x8000
"""Types from here on may be ignored by who does not understand them (RFC 8489 §18.3)."""


class StunError(IntEnum):
    """Error codes (RFC 8489 §18.4)."""

    TRY_ALTERNATE = 300  # RFC 8489 §14.8
    BAD_REQUEST = 400  # RFC 8489 §14.8
    UNAUTHENTICATED = 401  # RFC 8489 §14.8
    FORBIDDEN = 403  # RFC 8656 §19
    MOBILITY_FORBIDDEN = 405  # RFC 8016 §3.1
    UNKNOWN_ATTRIBUTE = 420  # RFC 8489 §14.8
    ALLOCATION_MISMATCH = 437  # RFC 8656 §19
    STALE_NONCE = 438  # RFC 8489 §14.8
    ADDRESS_FAMILY_NOT_SUPPORTED = 440  # RFC 8656 §19
    WRONG_CREDENTIALS = 441  # RFC 8656 §19
    UNSUPPORTED_TRANSPORT_PROTOCOL = 442  # RFC 8656 §19
    PEER_ADDRESS_FAMILY_MISMATCH = 443  # RFC 8656 §19
    CONNECTION_ALREADY_EXISTS = 446  # RFC 6062 §6.3
    CONNECTION_TIMEOUT_OR_FAILURE = 447  # RFC 6062 §6.3
    ALLOCATION_QUOTA_REACHED = 486  # RFC 8656 §19
    ROLE_CONFLICT = 487  # RFC 8445 §7.3.1.1
    SERVER_ERROR = 500  # RFC 8489 §14.8
    INSUFFICIENT_CAPACITY = 508  # RFC 8656 §19


REASON_PHRASES: dict[int, str] = {
    StunError.TRY_ALTERNATE: "Try Alternate",
    StunError.BAD_REQUEST: "Bad Request",
    StunError.UNAUTHENTICATED: "Unauthenticated",
    StunError.FORBIDDEN: "Forbidden",
    StunError.MOBILITY_FORBIDDEN: "Mobility Forbidden",
    StunError.UNKNOWN_ATTRIBUTE: "Unknown Attribute",
    StunError.ALLOCATION_MISMATCH: "Allocation Mismatch",
    StunError.STALE_NONCE: "Stale Nonce",
    StunError.ADDRESS_FAMILY_NOT_SUPPORTED: "Address Family not Supported",
    StunError.WRONG_CREDENTIALS: "Wrong Credentials",
    StunError.UNSUPPORTED_TRANSPORT_PROTOCOL: "Unsupported Transport Protocol",
    StunError.PEER_ADDRESS_FAMILY_MISMATCH: "Peer Address Family Mismatch",
    StunError.CONNECTION_ALREADY_EXISTS: "Connection Already Exists",
    StunError.CONNECTION_TIMEOUT_OR_FAILURE: "Connection Timeout or Failure",
    StunError.ALLOCATION_QUOTA_REACHED: "Allocation Quota Reached",
    StunError.ROLE_CONFLICT: "Role Conflict",
    StunError.SERVER_ERROR: "Server Error",
    StunError.INSUFFICIENT_CAPACITY: "Insufficient Capacity",
}
"""The recommended reason phrase of each error code (RFC 8489 §14.8)."""


class PasswordAlgorithmNumber(IntEnum):
    """How a long-term key is made of username, realm and password (RFC 8489 §18.5)."""

    MD5 = 0x0001  # RFC 8489 §18.5.1.1
    SHA_256 = 0x0002  # RFC 8489 §18.5.1.2


class SecurityFeature(IntFlag):
    """STUN security features as bits of a 24-bit number, bit 0 leftmost (RFC 8489 §18.1)."""

    PASSWORD_ALGORITHMS = 1 << 23
    USERNAME_ANONYMITY = 1 << 22


class Integrity(Enum):
    """Which attributes carry the HMAC of a message (RFC 8489 §14.5, §14.6)."""

    SHA1 = "MESSAGE-INTEGRITY"
    SHA256 = "MESSAGE-INTEGRITY-SHA256"
    BOTH = "MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256"
