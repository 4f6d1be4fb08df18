"""How far an allocation is, and from where it may get where."""

from enum import Enum, auto
from typing import Final

__all__ = ["TRANSITIONS", "AllocationState"]


class AllocationState(Enum):
    """How far an allocation is."""

    IDLE = auto()
    OPENING = auto()
    ALLOCATING = auto()
    ALLOCATED = auto()
    DELETING = auto()
    CLOSED = auto()


_S = AllocationState
TRANSITIONS: Final = {
    _S.IDLE: {_S.OPENING, _S.CLOSED},
    _S.OPENING: {_S.ALLOCATING, _S.IDLE, _S.CLOSED},
    _S.ALLOCATING: {_S.ALLOCATED, _S.OPENING, _S.IDLE, _S.DELETING, _S.CLOSED},
    _S.ALLOCATED: {_S.DELETING, _S.CLOSED},
    _S.DELETING: {_S.CLOSED},
    _S.CLOSED: set[AllocationState](),
}
