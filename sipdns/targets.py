"""What a lookup yields."""

from dataclasses import dataclass
from enum import StrEnum

from natkit.address import Family
from natkit.errors import LocateError
from natkit.locate import Target
from natkit.machine import Failure
from sipdns.decisions import Decision
from sipdns.records import Answer, Question

__all__ = ["Asked", "Outcome", "RankedTarget", "Source"]


@dataclass(frozen=True, slots=True)
class RankedTarget(Target):
    """A server to try, and why it stands where it stands.

    ``priority`` and ``weight`` are those of its SRV record, None where none led here.
    ``probability`` is how likely that record is drawn first among those of its priority.
    """

    priority: int | None = None
    weight: int | None = None
    probability: float = 1.0

    @property
    def family(self) -> Family:
        """The family of the address."""
        return self.address.family


class Source(StrEnum):
    """Where the answer to a question came from."""

    NETWORK = "network"
    CACHE = "cache"
    STALE = "stale cache"
    """The cache, past its time, because the DNS cannot be reached (RFC 8767)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a lookup, and what came of it in words.

    ``round`` counts the round trips that followed one upon another until this question's answer:
    1 for what was asked at the start, 0 for what the cache knew.  ``answer`` is None when the
    lookup was over, or its patience, before one came.
    """

    question: Question
    round: int
    result: str
    answer: Answer | Failure | None = None
    source: Source = Source.NETWORK


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a lookup: targets in the order to try, all of one transport, or ``error``."""

    uri: str
    targets: tuple[RankedTarget, ...]
    decisions: tuple[Decision, ...]
    asked: tuple[Asked, ...]
    error: LocateError | None

    @property
    def rounds(self) -> int:
        """How many round trips to the DNS followed one upon another."""
        return max((one.round for one in self.asked), default=0)
