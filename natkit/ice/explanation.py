"""What was tried and what came of it, for the person who must find out why nothing connects."""

from dataclasses import dataclass
from enum import StrEnum

from natkit.ice.candidate import Candidate


class PairState(StrEnum):
    """Where a pair is in its check list (RFC 8445 §6.1.2.6)."""

    FROZEN = "frozen"
    WAITING = "waiting"
    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DROPPED = "dropped"
    """Taken off the list unchecked, for another pair was selected (RFC 8445 §8.1.1)."""


@dataclass(frozen=True, slots=True)
class PairExplanation:
    """One pair: its state, ``reason`` in a sentence's words, and what was seen of it.

    ``sent`` counts the transmissions of checks, ``heard`` the peer's checks that came over the
    pair's path: some heard and none answered is a one-way path, or a wrong password.
    """

    component: int
    local: Candidate
    remote: Candidate
    state: PairState
    nominated: bool
    reason: str
    sent: int
    heard: int
    round_trip: float | None

    def __str__(self) -> str:
        counts = f"{self.sent} sent, {self.heard} heard"
        return f"{self.local} → {self.remote}: {self.state} ({self.reason}; {counts})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every pair of a stream by falling priority, and ``remarks`` on what no pair shows.

    Such as: no remote candidate came, or none of the same address family.
    """

    pairs: tuple[PairExplanation, ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((*self.remarks, *map(str, self.pairs)))
