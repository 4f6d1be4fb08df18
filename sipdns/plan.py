"""What a lookup has found, with all that RFC 2782 leaves to chance still open.

A plan holds for as long as the DNS's answers do; each use of it draws anew.
"""

from dataclasses import dataclass

from sipdns.srv_order import Draw, shuffled, weighted
from sipdns.targets import RankedTarget

__all__ = ["NOTHING", "Candidate", "Plan"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One SRV record, or the one host that was found without any.

    ``ranks`` are its addresses, best first; those of one rank are alike and share the load.
    A record whose host has no address has none, and takes part in the draws nevertheless.
    """

    weight: int
    ranks: tuple[tuple[RankedTarget, ...], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The candidates, in groups of which the next is tried when the one before has failed."""

    groups: tuple[tuple[Candidate, ...], ...]

    def arrange(self, draw: Draw) -> tuple[RankedTarget, ...]:
        """The targets in the order to try; the same draws give the same order."""
        result: list[RankedTarget] = []
        for group in self.groups:
            for candidate in group if len(group) == 1 else weighted(group, draw):
                for rank in candidate.ranks:
                    result += rank if len(rank) == 1 else shuffled(rank, draw)
        return tuple(result)

    @property
    def leads_anywhere(self) -> bool:
        """Whether there is any target."""
        return any(candidate.ranks for group in self.groups for candidate in group)


NOTHING = Plan(())
