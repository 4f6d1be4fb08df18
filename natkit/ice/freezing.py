"""Which pairs are checked first, over all check lists of an agent (RFC 8445 §6.1.2.6, §6.1.4.2).

Of the pairs of one foundation one is checked, and the others when that one succeeded or nothing
better is left to do: what is alike mostly fails alike.
"""

from collections.abc import Iterable, Sequence

from natkit.ice.checklist import Checklist, ChecklistState
from natkit.ice.explanation import PairState
from natkit.ice.pair import Pair

_BUSY = (PairState.WAITING, PairState.IN_PROGRESS)


def _frozen(checklist: Checklist) -> Iterable[Pair]:
    return (pair for pair in checklist.pairs if pair.state is PairState.FROZEN)


def thaw_new(checklists: Sequence[Checklist]) -> None:
    """New pairs came: each foundation that has nothing under way gets a pair that waits.

    That is the one of the lowest component, and of those the one of the highest priority.  Where a
    pair of the foundation succeeded, all of it may be checked (RFC 8838 §12).
    """
    busy: set[tuple[str, str]] = set()
    succeeded: set[tuple[str, str]] = set()
    first: dict[tuple[str, str], Pair] = {}
    for checklist in checklists:
        for pair in checklist.pairs:
            if pair.state in _BUSY:
                busy.add(pair.foundation)
            elif pair.state is PairState.SUCCEEDED:
                succeeded.add(pair.foundation)
        for pair in _frozen(checklist):
            best = first.get(pair.foundation)
            if best is None or (pair.component, -pair.priority) < (best.component, -best.priority):
                first[pair.foundation] = pair
    for foundation, pair in first.items():
        if foundation not in busy:
            pair.state = PairState.WAITING
    for foundation in succeeded:
        thaw_alike(checklists, foundation)


def thaw_alike(checklists: Sequence[Checklist], foundation: tuple[str, str]) -> None:
    """A check succeeded: the pairs of its foundation need not wait (RFC 8445 §7.2.5.3.3)."""
    for checklist in checklists:
        for pair in _frozen(checklist):
            if pair.foundation == foundation:
                pair.state = PairState.WAITING


def thaw_one(checklists: Sequence[Checklist], checklist: Checklist) -> Pair | None:
    """Nothing waits in ``checklist``: let its best frozen pair be checked (RFC 8445 §6.1.4.2).

    One whose foundation has nothing under way in any list; None if there is none.
    """
    busy = {
        pair.foundation
        for each in checklists
        if each.state is ChecklistState.RUNNING
        for pair in each.pairs
        if pair.state in _BUSY
    }
    for pair in _frozen(checklist):
        if pair.foundation not in busy:
            pair.state = PairState.WAITING
            return pair
    return None


def count_busy(checklists: Iterable[Checklist]) -> int:
    """Pairs that wait or are in progress, in all lists: what RTO grows with (RFC 8445 §14.3)."""
    return sum(pair.state in _BUSY for checklist in checklists for pair in checklist.pairs)
