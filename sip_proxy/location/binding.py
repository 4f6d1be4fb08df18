"""One binding: a contact of an address of record, and the way to it."""

from dataclasses import dataclass

from natkit.machine import Path

__all__ = ["LARGEST_Q", "Binding"]

LARGEST_Q = 1000
"""q is kept in thousandths, as many as it has digits (RFC 3261 §25.1 qvalue)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a registration leaves behind; all of it can be stored as text and numbers.

    ``contact`` is the URI as the user agent wrote it, ``expires_at`` Unix time, ``q`` thousandths.
    ``path`` are the URIs of the Path fields, outermost first (RFC 3327 §5.3).  ``flow`` is what the
    registration came on, where no other proxy stood between.
    """

    contact: str
    expires_at: float
    q: int
    call_id: str
    cseq: int
    updated_at: float
    path: tuple[str, ...] = ()
    flow: Path | None = None
    instance: str | None = None
    reg_id: int | None = None
    user_agent: str = ""

    @property
    def is_outbound(self) -> bool:
        """Whether it is one of several flows of a user agent (RFC 5626 §6)."""
        return self.instance is not None and self.reg_id is not None
