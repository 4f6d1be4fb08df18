"""SIP transactions (RFC 3261 §17, RFC 6026): one request, its responses, and what is sent again.

:class:`Transactions` holds them all and finds the one that a message belongs to.  No I/O.
"""

from natkit.sip.transactions.events import (
    AckMissing,
    AckReceived,
    BadRequest,
    Dropped,
    NoRoomForRequest,
    PathLost,
    RequestReceived,
    ResponseReceived,
    TimedOut,
    TransactionEnded,
    TransactionEvent,
    TransactionId,
)
from natkit.sip.transactions.layer import Transactions, TransactionSettings
from natkit.sip.transactions.live import LiveTransaction
from natkit.sip.transactions.timing import SipTiming

__all__ = [
    "AckMissing",
    "AckReceived",
    "BadRequest",
    "Dropped",
    "LiveTransaction",
    "NoRoomForRequest",
    "PathLost",
    "RequestReceived",
    "ResponseReceived",
    "SipTiming",
    "TimedOut",
    "TransactionEnded",
    "TransactionEvent",
    "TransactionId",
    "TransactionSettings",
    "Transactions",
]
