"""What a caller waits when servers fail, and the run of a failover (RFC 3263 §4.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from natkit.errors import MisuseError
from sipdns.targets import RankedTarget

__all__ = [
    "SILENCE",
    "Attempted",
    "How",
    "failover",
    "first_chances",
    "read_failures",
]

SILENCE: Final = 32.0
"""Seconds.  64 * T1: Timer B and Timer F end a transaction without any answer, over whatever
transport (RFC 3261 §17.1.1.2, §17.1.2.2).  Over TCP it covers the time to connect."""


class How(StrEnum):
    """What happens to an attempt."""

    SILENT = "silent"
    """Nothing comes back."""
    REFUSED = "refused"
    """ICMP says that nothing listens, or the connection is reset: at once."""
    UNAVAILABLE = "503"
    """The server answers that it cannot; at once, for this comparison."""
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt at one target: it begins ``begins`` seconds after the first, and how it ends."""

    number: int
    target: RankedTarget
    begins: float
    how: How


def read_failures(text: str) -> dict[int, How]:
    """``1,2`` or ``1=refused,2=503``: which targets fail, silently unless it is said how."""
    failures: dict[int, How] = {}
    for part in text.split(","):
        number, _, how = part.strip().partition("=")
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 1000):
            raise MisuseError(
                f"--explain-failover has {part.strip()!r}; write the numbers of the targets that "
                "fail, by commas: 1,2"
            )
        try:
            found = How(how or How.SILENT)
        except ValueError:
            found = How.ANSWERED
        if found is How.ANSWERED:
            raise MisuseError(
                f"--explain-failover has {part.strip()!r}; a target can be silent, refused or 503"
            )
        failures[int(number)] = found
    return failures


def failover(targets: Sequence[RankedTarget], failures: Mapping[int, How]) -> list[Attempted]:
    """The attempts of one transaction, the last one answered unless all fail."""
    now = 0.0
    attempts = []
    for number, target in enumerate(targets, start=1):
        how = failures.get(number, How.ANSWERED)
        attempts.append(Attempted(number, target, now, how))
        if how is How.ANSWERED:
            break
        now += SILENCE if how is How.SILENT else 0.0
    return attempts


def first_chances(targets: Sequence[RankedTarget]) -> list[float]:
    """How likely each target is the first to be tried.

    A server of a later priority never is; of a server's addresses, only the one that comes first.
    """
    if not targets:
        return []
    first = min((one.priority for one in targets if one.priority is not None), default=None)
    seen: set[tuple[str, int]] = set()
    chances = []
    for one in targets:
        key = (one.host, one.address.port)
        is_first = one.priority == first and key not in seen
        seen.add(key)
        chances.append(one.probability if is_first else 0.0)
    return chances
