"""What the proxy machine has to do at a moment."""

from collections.abc import Mapping
from dataclasses import dataclass

from natkit.machine import Transport

__all__ = ["Load"]


@dataclass(frozen=True, slots=True)
class Load:
    """``transactions`` live; of ``forks``, requests that were sent on, some wait for nothing more.

    ``waiting`` requests wait for the shell.  Open connections by transport: ``accepted`` were made
    by others.
    """

    transactions: int
    forks: int
    waiting: int
    accepted: Mapping[Transport, int]
    made: Mapping[Transport, int]
