"""What is counted of the sources of packets: memory that a program in the kernel may count in, too.

All numbers are words of 64 bits.  :mod:`natkit.server.limits` says what they mean, and
``relay.bpf.c`` does the same with them.
"""

from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

__all__ = ["NEVER", "SLOTS", "WORD", "SourceMemory", "State", "Words"]

SLOTS = 1 << 16
"""Places in the table.  A flood from every source there is spends 1/65,536 of itself on each."""

WORD = (1 << 64) - 1
NEVER = WORD
"""A second that does not come."""


class Words(Protocol):
    """An array of words, or memory in their place."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


class State(IntEnum):
    """Which word of the state has what."""

    SECOND = 0
    """The second that is counted; beside it, packets of all sources in it."""
    IN_SECOND = 1
    UNTOLD = 2
    """How many of these pass without a look at the source; then, how many of each source do."""
    EACH = 3
    PACKETS = 4
    """What a source may send in a second, from the next one on."""
    RENEWED_AT = 5
    """Nanoseconds: when the window of credits ends; then the number of that window."""
    WINDOW = 6
    BURST = 7
    """The credit that each source has at the beginning of the window."""
    FACTOR = 8
    """Keys the hash."""
    IS_OPEN = 9
    """Whether sources of every network may be answered."""


@dataclass(frozen=True, slots=True)
class SourceMemory:
    """The state, and two words for each place: what it sent in a second, and what it is owed.

    The upper half of both says in which second, or window; else the lower half does not count.
    """

    state: Words
    counts: Words
    credits: Words

    @classmethod
    def own(cls) -> "SourceMemory":
        """Memory of this process alone."""
        return cls(array("Q", [0]) * len(State), array("Q", [0]) * SLOTS, array("Q", [0]) * SLOTS)
