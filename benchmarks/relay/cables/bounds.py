"""How large a ratio may be, from runs in which both were measured."""

from collections.abc import Sequence
from math import inf, sqrt
from statistics import covariance, fmean

__all__ = ["upper_bound"]

# Student's t, of which 95 % are below, for 1 to 30 degrees of freedom; and without end.
_QUANTILES = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
    *(1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697),
)
_LIMIT = 1.645


def upper_bound(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The upper 95 % bound of the ratio of the means, by Fieller's theorem.

    It is the largest ratio r that a one-sided t-test of ``ours - r * theirs``, paired by run, does
    not refuse; so it holds where ours are near nothing, or below.  Infinite when theirs are not
    told from nothing, or there are fewer than two runs.
    """
    runs = len(ours)
    if runs < 2:
        return inf
    t = _QUANTILES[runs - 2] if runs - 2 < len(_QUANTILES) else _LIMIT
    scale = t * t / runs
    a = fmean(theirs) ** 2 - scale * covariance(theirs, theirs)
    b = fmean(ours) * fmean(theirs) - scale * covariance(ours, theirs)
    c = fmean(ours) ** 2 - scale * covariance(ours, ours)
    if a <= 0:
        return inf
    return (b + sqrt(max(0.0, b * b - a * c))) / a
