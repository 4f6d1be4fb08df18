"""Why a lookup went the way it did, as data."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Decision", "Step", "Verdict"]


class Step(StrEnum):
    """Where in the procedure a decision falls."""

    TARGET = "target"
    TRANSPORT = "transport"
    NAPTR = "naptr"
    SRV = "srv"
    ADDRESS = "address"


class Verdict(StrEnum):
    """What became of the subject."""

    CHOSEN = "chosen"
    PASSED_OVER = "passed over"
    ABSENT = "absent"
    FAILED = "failed"
    """The DNS gave no usable answer, so it is not known whether it exists."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: what it was about, what became of it, why, and by which text."""

    step: Step
    subject: str
    verdict: Verdict
    reason: str
    rfc: str
