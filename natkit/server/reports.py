"""What an operator is told of a drain and of a reload."""

from dataclasses import dataclass, field

__all__ = ["Drain", "Reload"]


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain under way: Unix times of its beginning, and of its end at the latest."""

    since: float
    until: float
    sessions: int
    """How many are left."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What became of a reload.

    ``error`` says why nothing was changed, None that the configuration counts.  ``changed`` are the
    options with another value than before, as ``table.option``, ``needs_restart`` those of them
    that count only after a restart.
    """

    error: str | None = None
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = field(default=())
