"""How large a ratio may be, from runs in which both were measured."""

from functools import cache
from math import inf
from random import Random
from statistics import median

__all__ = ["ratio", "upper_bound"]

_RESAMPLES = 2000
_SHARE = 0.95


def ratio(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    """That of the medians, which a disturbed run does not move far; infinite to nothing."""
    below = median(theirs)
    return median(ours) / below if below > 0 else inf


@cache
def upper_bound(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    """The upper 95 % bound of :func:`ratio`, by bootstrap: runs are drawn anew, pairs together.

    Infinite when there are fewer than two.
    """
    runs = len(ours)
    if runs < 2:
        return inf
    rng = Random(1)
    found = []
    for _ in range(_RESAMPLES):
        drawn = rng.choices(range(runs), k=runs)
        found.append(ratio(tuple(ours[run] for run in drawn), tuple(theirs[run] for run in drawn)))
    found.sort()
    return found[int(_SHARE * _RESAMPLES)]
