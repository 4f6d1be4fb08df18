"""The order in which to try SRV records (RFC 2782, "Usage rules")."""

from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from typing import Protocol, TypeVar

from sipdns.records import SrvRecord

__all__ = ["Draw", "by_priority", "first_probabilities", "order", "shuffled", "weighted"]

Draw = Callable[[int], int]
"""``draw(n)`` gives an integer from 0 to ``n - 1``, each as likely: ``secrets.randbelow`` in the
shells, ``random.Random(seed).randrange`` in tests."""

T = TypeVar("T")


class _Weighted(Protocol):
    @property
    def weight(self) -> int: ...


W = TypeVar("W", bound=_Weighted)


def shuffled(items: Sequence[T], draw: Draw) -> list[T]:
    """The items in an order drawn from all orders alike."""
    result = list(items)
    for last in range(len(result) - 1, 0, -1):
        chosen = draw(last + 1)
        result[last], result[chosen] = result[chosen], result[last]
    return result


def by_priority(records: Sequence[SrvRecord]) -> list[list[SrvRecord]]:
    """The records in groups of one priority, the lowest first.

    Nameservers rotate what they send, so the order of ``records`` does not matter.
    """
    everything = sorted(records, key=lambda one: (one.priority, one.target, one.port, one.weight))
    return [list(group) for _, group in groupby(everything, key=lambda one: one.priority)]


def order(records: Sequence[SrvRecord], draw: Draw) -> list[SrvRecord]:
    """By priority, and within one priority as drawn; the same draws give the same order."""
    result: list[SrvRecord] = []
    for group in by_priority(records):
        result += weighted(group, draw)
    return result


def weighted(group: Sequence[W], draw: Draw) -> list[W]:
    """The records of one priority in an order drawn by their weights."""
    if len(group) == 1:
        return list(group)
    # RFC 2782 arranges the records in any order, those of weight 0 first.  The record in front gets
    # one chance more than its weight; a drawn arrangement gives that chance to all alike.
    waiting = sorted(shuffled(group, draw), key=lambda one: one.weight > 0)
    total = sum(one.weight for one in waiting)
    result = []
    while len(waiting) > 1:
        drawn = draw(total + 1)
        running_sums = accumulate(one.weight for one in waiting)
        reached = next(index for index, value in enumerate(running_sums) if value >= drawn)
        chosen = waiting.pop(reached)
        total -= chosen.weight
        result.append(chosen)
    return result + waiting


def first_probabilities(group: Sequence[W]) -> list[float]:
    """How likely :func:`weighted` puts each of the records of one priority first."""
    total = sum(one.weight for one in group)
    zeros = sum(one.weight == 0 for one in group)
    # The draw has total + 1 outcomes; the outcome 0 goes to the record in front.
    front = zeros or len(group)
    return [
        (one.weight + (1 / front if one.weight == 0 or not zeros else 0)) / (total + 1)
        for one in group
    ]
