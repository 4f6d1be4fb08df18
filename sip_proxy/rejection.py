"""An answer that refuses a request, as a value: who finds a fault need not be who answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from natkit.sip import HeaderField

__all__ = ["Rejection"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Answer with this; ``reason`` None is the status code's own phrase."""

    status: int
    reason: str | None = None
    fields: Sequence[HeaderField] = ()
