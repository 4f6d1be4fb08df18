"""What the operating system refused, as natkit's errors: a line for a person, OSError its cause."""

import errno
import os

from natkit.errors import TlsFailed, UnreachableError
from natkit.machine import Failure

__all__ = ["failure", "is_address_in_use", "reason", "unreachable"]


def reason(error: OSError) -> str:
    """Why, in a few lower-case words; event loops put their own text where the system's was."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    text = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def unreachable(doing: str, error: OSError) -> UnreachableError:
    """``cannot <doing>: <why>``, to be raised from ``error``."""
    refusal = UnreachableError(f"cannot {doing}: {reason(error)}")
    refusal.__cause__ = error
    return refusal


def is_address_in_use(error: UnreachableError) -> bool:
    """Whether somebody else holds the address that was asked for."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE


def failure(error: UnreachableError) -> Failure:
    """The answer to a machine whose Request ended in ``error``."""
    return Failure(
        str(error),
        address_in_use=is_address_in_use(error),
        tls_failed=isinstance(error, TlsFailed),
    )
