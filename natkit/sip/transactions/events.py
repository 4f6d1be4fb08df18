"""What the transactions tell their user (the TU of RFC 3261 §5)."""

from dataclasses import dataclass, field

from natkit.machine import Path
from natkit.sip.message import Request, Response
from natkit.sip.via import ResponseAddress, SentBy

TransactionId = int
"""Names a transaction; never used again."""


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A new request, to be answered by ``respond``; its topmost Via says where it came from.

    ``cancels`` is the INVITE transaction that a CANCEL is about, while that is there (§9.2).
    """

    transaction: TransactionId
    request: Request
    path: Path
    cancels: TransactionId | None = None


@dataclass(frozen=True, slots=True)
class AckReceived:
    """An ACK that ends no transaction: it is for a 2xx, and has no answer (§13.2.2.4)."""

    request: Request
    path: Path


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """A response to a request of ours: each provisional one, and the final one once.

    Of an INVITE each 2xx of each fork, sent again or not, until timer M (RFC 6026 §8.4).
    """

    transaction: TransactionId
    response: Response
    path: Path


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nobody answered our request in time (timer B or F); the transaction is over.

    ``path`` is what it was sent on.
    """

    transaction: TransactionId
    path: Path | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AckMissing:
    """Our response to an INVITE was not acknowledged in time (timer H); it is over."""

    transaction: TransactionId


@dataclass(frozen=True, slots=True)
class PathLost:
    """The stream of a transaction ended.

    A request of ours is lost and its transaction over (§17.1.4).  A response of ours may still be
    delivered at ``destination``, by ``move``; None for a request (§18.2.2, RFC 3263 §5).
    """

    transaction: TransactionId
    destination: ResponseAddress | SentBy | None = None


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """Nothing more will be said of this transaction."""

    transaction: TransactionId


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request that is to be answered by 400, or by 505, without a transaction (§16.3)."""

    request: Request
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class NoRoomForRequest:
    """A new request for which there is no room: answer 503 without a transaction."""

    request: Request
    path: Path


@dataclass(frozen=True, slots=True)
class Dropped:
    """What arrived is no SIP, or a response that belongs to nothing; nothing is to be done."""

    path: Path
    reason: str


TransactionEvent = (
    RequestReceived
    | AckReceived
    | ResponseReceived
    | TimedOut
    | AckMissing
    | PathLost
    | TransactionEnded
    | BadRequest
    | NoRoomForRequest
    | Dropped
)
