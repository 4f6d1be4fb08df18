"""What a lookup yields."""

from dataclasses import dataclass

from natkit.address import Family
from natkit.errors import LocateError
from natkit.locate import Target
from sipdns.decisions import Decision
from sipdns.records import Question

__all__ = ["Asked", "Outcome", "RankedTarget"]


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


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that a lookup asked, in which round, and what came of it in words."""

    question: Question
    round: int
    result: str


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
