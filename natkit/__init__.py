"""NAT traversal: STUN, TURN, and what SIP needs of them.

Protocol machines live in :mod:`natkit.stun`, :mod:`natkit.turn` and their neighbours and do no I/O;
:mod:`natkit.aio` runs them on asyncio.  Importing this package loads neither.
"""

from natkit.errors import (
    ConfigError,
    DnsFailure,
    ErrorResponse,
    IntegrityViolation,
    LocateError,
    MalformedMessage,
    MisuseError,
    NatkitError,
    NoService,
    TransactionTimeout,
    UnreachableError,
)

__all__ = [
    "ConfigError",
    "DnsFailure",
    "ErrorResponse",
    "IntegrityViolation",
    "LocateError",
    "MalformedMessage",
    "MisuseError",
    "NatkitError",
    "NoService",
    "TransactionTimeout",
    "UnreachableError",
    "__version__",
]

__version__ = "0.1.0"
