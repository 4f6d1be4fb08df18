"""What is counted of the sources of packets: memory that a program in the kernel may count in, too.

All numbers are words of 64 bits.  :mod:`natkit.server.limits` says what they mean, and
``relay.bpf.c`` does the same with them.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from natkit.address import IPNetwork

__all__ = ["NEVER", "SLOTS", "WORD", "Clients", "Networks", "SourceMemory", "State", "Words"]

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
    CLIENTS = 9
    """Who may be answered, as :class:`Clients` says."""


class Clients(IntEnum):
    """Which networks of clients are served."""

    ASK_ABOVE = 0
    """Who looks at the memory does not know."""
    ALL = 1
    OTHERS_TOO = 2
    """Those that the memory's networks say, and all that they do not name."""
    NO_OTHERS = 3
    """Those that they say alone."""


class Networks(Protocol):
    """Networks of clients, of which the narrowest that holds a client counts."""

    def replace(self, served: Mapping[IPNetwork, bool], /) -> bool:
        """Have these, and whether each is served; False when there is not enough room."""
        ...


@dataclass(frozen=True, slots=True)
class SourceMemory:
    """The state, and two words for each place: what it sent in a second, and what it is owed.

    The upper half of both says in which second, or window; else the lower half does not count.
    """

    state: Words
    counts: Words
    credits: Words
    networks: Networks | None = None

    @classmethod
    def own(cls) -> "SourceMemory":
        """Memory of this process alone."""
        return cls(array("Q", [0]) * len(State), array("Q", [0]) * SLOTS, array("Q", [0]) * SLOTS)
