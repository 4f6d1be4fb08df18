"""Every exception that natkit raises on purpose.

::

    NatkitError
    ├── MalformedMessage             a peer's bytes do not parse (a ValueError)
    ├── MisuseError                  our caller broke a documented rule (a ValueError)
    ├── ConfigError                  a flag, file or option is wrong; the text is for its author
    ├── UnreachableError             the operating system or the path refused (a ConnectionError)
    │   ├── TlsFailed                the TLS handshake failed, or a certificate was refused
    │   ├── UpgradeRefused           no WebSocket with the subprotocol that was asked for
    │   └── HandoverRefused          another process of the same server did not do what was asked
    ├── TransactionTimeout           every retransmission went unanswered (a TimeoutError)
    ├── WorkersFailed                the processes of a server do not stay alive
    ├── StoreFailure                 a store of users or secrets could not be asked
    ├── IntegrityViolation           answers came, and none was made with our credential
    ├── ErrorResponse                the peer answered with a STUN error; .code and .reason
    │   ├── TryAlternate             300
    │   ├── BadRequest               400
    │   ├── Unauthenticated          401
    │   ├── Forbidden                403
    │   ├── MobilityForbidden        405
    │   ├── UnknownAttribute         420
    │   ├── AllocationMismatch       437
    │   ├── StaleNonce               438
    │   ├── AddressFamilyNotSupported      440
    │   ├── WrongCredentials         441
    │   ├── UnsupportedTransport     442
    │   ├── PeerAddressFamilyMismatch      443
    │   ├── ConnectionAlreadyExists  446
    │   ├── ConnectionFailed         447
    │   ├── QuotaReached             486
    │   ├── RoleConflict             487
    │   ├── ServerError              500
    │   └── InsufficientCapacity     508
    └── LocateError                  a name did not lead to a server
        ├── NoService                the DNS answered: there is none
        └── DnsFailure               the DNS could not be asked

A peer's bytes raise nothing but :class:`MalformedMessage`; fuzzing asserts it.  ``OSError`` is
translated in the shells, never in a machine.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from natkit.address import Address


class NatkitError(Exception):
    """Root of the tree; its text is one line fit for a person."""


class MalformedMessage(NatkitError, ValueError):
    """Bytes from a peer do not follow their format."""


class MisuseError(NatkitError, ValueError):
    """A caller of natkit broke a documented rule."""


class ConfigError(NatkitError):
    """A flag, a configuration file or an option is wrong; says what, where, and what to do."""


class UnreachableError(NatkitError, ConnectionError):
    """The operating system could not reach the address or open the socket."""


class TlsFailed(UnreachableError):
    """The connection stands, but no TLS on it that may be trusted."""


class UpgradeRefused(UnreachableError):
    """The server did not make the connection a WebSocket as asked (RFC 6455 §4, RFC 7118 §4).

    ``status`` is that of its HTTP response, None when it sent none.
    """

    status: int | None = None


class HandoverRefused(UnreachableError):
    """Another process of this server did not do what was asked, for the reason in the text."""


class TransactionTimeout(NatkitError, TimeoutError):
    """A transaction ended without any answer (RFC 8489 §6.2.1, §6.2.2)."""


class WorkersFailed(NatkitError):
    """The processes that a supervisor started do not stay alive."""


class StoreFailure(NatkitError):
    """A store of users or secrets could not be asked, or gave no usable answer."""


class IntegrityViolation(NatkitError):
    """Answers arrived, but none that the credential proves genuine (RFC 8489 §9.1.4, §9.2.5)."""


class ErrorResponse(NatkitError):
    """The peer answered with an error response (RFC 8489 §6.3.4).

    :meth:`of` builds the subclass that belongs to a code; an unlisted code gives this class itself.
    """

    by_code: ClassVar[dict[int, type["ErrorResponse"]]] = {}
    assigned_code: ClassVar[int | None] = None

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}".rstrip())
        self.code = code
        self.reason = reason

    def __init_subclass__(cls, code: int | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.assigned_code = code
            ErrorResponse.by_code[code] = cls

    @staticmethod
    def of(code: int, reason: str = "") -> "ErrorResponse":
        """The exception for an ERROR-CODE of ``code`` (300 to 699) with the peer's ``reason``."""
        return ErrorResponse.by_code.get(code, ErrorResponse)(code, reason)


class TryAlternate(ErrorResponse, code=300):
    """The server names another one in ALTERNATE-SERVER (RFC 8489 §10).

    ``servers`` is empty unless the response was authenticated: nobody may follow it otherwise
    (§14.8).  ``domain`` is the name on their certificate, where it differs from the first one's.
    """

    servers: tuple["Address", ...] = ()
    domain: str | None = None


class BadRequest(ErrorResponse, code=400):
    """The request was malformed (RFC 8489 §14.8)."""


class Unauthenticated(ErrorResponse, code=401):
    """The credentials were missing or wrong (RFC 8489 §9.2.4)."""


class Forbidden(ErrorResponse, code=403):
    """The server refuses by policy, a peer's address as a rule (RFC 8656 §19)."""


class MobilityForbidden(ErrorResponse, code=405):
    """The server does not move allocations (RFC 8016 §3.5)."""


class UnknownAttribute(ErrorResponse, code=420):
    """The server does not understand the attributes of ``types`` (RFC 8489 §14.8)."""

    types: tuple[int, ...] = ()


class AllocationMismatch(ErrorResponse, code=437):
    """The 5-tuple has an allocation already, or has none (RFC 8656 §19)."""


class StaleNonce(ErrorResponse, code=438):
    """The nonce has expired; the response carries the next one (RFC 8489 §9.2.5)."""


class AddressFamilyNotSupported(ErrorResponse, code=440):
    """The server does not relay the requested address family (RFC 8656 §19)."""


class WrongCredentials(ErrorResponse, code=441):
    """The allocation was made with another username (RFC 8656 §19)."""


class UnsupportedTransport(ErrorResponse, code=442):
    """The server does not relay the requested transport (RFC 8656 §19)."""


class PeerAddressFamilyMismatch(ErrorResponse, code=443):
    """The peer's address family is not the relayed address's (RFC 8656 §19)."""


class ConnectionAlreadyExists(ErrorResponse, code=446):
    """The allocation has a connection to this peer already (RFC 6062 §6.3)."""


class ConnectionFailed(ErrorResponse, code=447):
    """The server could not connect to the peer (RFC 6062 §6.3)."""


class QuotaReached(ErrorResponse, code=486):
    """The user has as many allocations as the server grants (RFC 8656 §19)."""


class RoleConflict(ErrorResponse, code=487):
    """Both ICE agents hold the same role (RFC 8445 §7.3.1.1)."""


class ServerError(ErrorResponse, code=500):
    """The server failed for the moment; a later attempt may succeed (RFC 8489 §14.8)."""


class InsufficientCapacity(ErrorResponse, code=508):
    """The server has no relayed transport address to give (RFC 8656 §19)."""


class LocateError(NatkitError):
    """A URI or name did not lead to a server's address."""


class NoService(LocateError):
    """The DNS answered, and the answer is that no such server exists."""


class DnsFailure(LocateError):
    """The DNS gave no usable answer: a timeout, SERVFAIL, or a refusal."""
