"""The numbers and fixed names of SIP, each once, with its RFC."""

from types import MappingProxyType
from typing import Final

from natkit.machine import Transport

__all__ = [
    "BRANCH_COOKIE",
    "COMPACT_FORMS",
    "DEFAULT_PORTS",
    "INITIAL_MAX_FORWARDS",
    "LARGEST_CSEQ",
    "LARGEST_MAX_FORWARDS",
    "REASON_PHRASES",
    "SIP_VERSION",
    "T1",
    "T2",
    "T4",
    "TRANSACTION_TIMEOUT",
    "WEBSOCKET_SUBPROTOCOL",
]

SIP_VERSION: Final = "SIP/2.0"
"""RFC 3261 §7.1."""

BRANCH_COOKIE: Final = "z9hG4bK"
"""Begins a branch that names its transaction all by itself (RFC 3261 §8.1.1.7)."""

WEBSOCKET_SUBPROTOCOL: Final = "sip"
"""RFC 7118 §4.1."""

LARGEST_CSEQ: Final = 2**31 - 1
"""RFC 3261 §8.1.1.5."""

LARGEST_MAX_FORWARDS: Final = 255
"""RFC 3261 §20.22."""

T1: Final = 0.5
"""Seconds: the estimate of a round trip (RFC 3261 §17.1.1.1)."""

T2: Final = 4.0
"""Seconds: the longest interval between retransmissions of other requests than INVITE."""

T4: Final = 5.0
"""Seconds: the longest that a message stays in the network (RFC 3261 §17.1.2.2)."""

INITIAL_MAX_FORWARDS: Final = 70
"""RFC 3261 §8.1.1.6."""

TRANSACTION_TIMEOUT: Final = 64 * T1
"""Seconds until an unanswered transaction is over: timers B and F (RFC 3261 §17.1)."""

DEFAULT_PORTS: Final = MappingProxyType(
    {
        Transport.UDP: 5060,
        Transport.TCP: 5060,
        Transport.TLS: 5061,
        Transport.SCTP: 5060,
        Transport.TLS_SCTP: 5061,
        Transport.WS: 80,
        Transport.WSS: 443,
    }
)
"""Where SIP is spoken on a transport unless a port is named.

RFC 3261 §19.1.2, RFC 4168 §4, RFC 7118 §5.
"""

COMPACT_FORMS: Final = MappingProxyType(
    {
        "a": "accept-contact",  # RFC 3841 §10
        "b": "referred-by",  # RFC 3892 §2.1
        "c": "content-type",  # RFC 3261 §7.3.3, like all without a remark
        "d": "request-disposition",  # RFC 3841 §10
        "e": "content-encoding",
        "f": "from",
        "i": "call-id",
        "j": "reject-contact",  # RFC 3841 §10
        "k": "supported",
        "l": "content-length",
        "m": "contact",
        "n": "identity-info",  # RFC 4474 §9
        "o": "event",  # RFC 6665 §8.2.1
        "r": "refer-to",  # RFC 3515 §2.1
        "s": "subject",
        "t": "to",
        "u": "allow-events",  # RFC 6665 §8.2.2
        "v": "via",
        "x": "session-expires",  # RFC 4028 §4
        "y": "identity",  # RFC 8224 §4
    }
)
"""The names that one letter stands for, in lower case."""

REASON_PHRASES: Final = MappingProxyType(
    {
        100: "Trying",
        180: "Ringing",
        181: "Call Is Being Forwarded",
        182: "Queued",
        183: "Session Progress",
        200: "OK",
        202: "Accepted",  # RFC 6665 §8.3.1
        300: "Multiple Choices",
        301: "Moved Permanently",
        302: "Moved Temporarily",
        305: "Use Proxy",
        380: "Alternative Service",
        400: "Bad Request",
        401: "Unauthorized",
        402: "Payment Required",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        406: "Not Acceptable",
        407: "Proxy Authentication Required",
        408: "Request Timeout",
        410: "Gone",
        413: "Request Entity Too Large",
        414: "Request-URI Too Long",
        415: "Unsupported Media Type",
        416: "Unsupported URI Scheme",
        420: "Bad Extension",
        421: "Extension Required",
        423: "Interval Too Brief",
        430: "Flow Failed",  # RFC 5626 §11.5
        439: "First Hop Lacks Outbound Support",  # RFC 5626 §11.6
        440: "Max-Breadth Exceeded",  # RFC 5393 §5.5
        480: "Temporarily Unavailable",
        481: "Call/Transaction Does Not Exist",
        482: "Loop Detected",
        483: "Too Many Hops",
        484: "Address Incomplete",
        485: "Ambiguous",
        486: "Busy Here",
        487: "Request Terminated",
        488: "Not Acceptable Here",
        491: "Request Pending",
        493: "Undecipherable",
        500: "Server Internal Error",
        501: "Not Implemented",
        502: "Bad Gateway",
        503: "Service Unavailable",
        504: "Server Time-out",
        505: "Version Not Supported",
        513: "Message Too Large",
        600: "Busy Everywhere",
        603: "Decline",
        604: "Does Not Exist Anywhere",
        606: "Not Acceptable",
    }
)
"""What a status code means, in RFC 3261 §21 unless another RFC is named."""
