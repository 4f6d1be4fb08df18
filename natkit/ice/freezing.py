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
    succeeded: dict[tuple[str, str], Pair] = {}
    first: dict[tuple[str, str], Pair] = {}
    for checklist in checklists:
        for pair in checklist.pairs:
            if pair.state in _BUSY:
                busy.add(pair.foundation)
            elif pair.state is PairState.SUCCEEDED:
                succeeded[pair.foundation] = pair
        for pair in _frozen(checklist):
            best = first.get(pair.foundation)
            if best is None or (pair.component, -pair.priority) < (best.component, -best.priority):
                first[pair.foundation] = pair
    for foundation, pair in first.items():
        if foundation not in busy:
            pair.state = PairState.WAITING
    for pair in succeeded.values():
        thaw_alike(checklists, pair)


def thaw_alike(checklists: Sequence[Checklist], succeeded: Pair) -> None:
    """A check succeeded: the pairs of its foundation need not wait (RFC 8445 §7.2.5.3.3).

    Nor those from the same kind of base to the same host: to a peer-reflexive address leads what
    may be a foundation of its own, and the pair that a TURN server's permission waits for has that
    of the address that the peer told.
    """
    host = succeeded.remote_address.host
    for checklist in checklists:
        for pair in _frozen(checklist):
            if pair.foundation == succeeded.foundation or (
                pair.foundation[0] == succeeded.foundation[0] and pair.remote_address.host == host
            ):
                pair.state = PairState.WAITING


def next_to_thaw(checklists: Sequence[Checklist], checklist: Checklist) -> Pair | None:
    """Nothing waits in ``checklist``: its best pair that may be checked next, or None (§6.1.4.2).

    It is one whose foundation has nothing under way in any list.  A check that was retransmitted
    counts as nothing: candidates trickle in, so that the two sides may have begun with different
    pairs of a foundation, and where each waits for the other's packets to let its own pass, both
    would wait until both have failed.
    """
    busy = {
        pair.foundation
        for each in checklists
        if each.state is ChecklistState.RUNNING
        for pair in each.pairs
        if pair.state is PairState.WAITING
        or (pair.state is PairState.IN_PROGRESS and pair.transmissions < 2)
    }
    return next((pair for pair in _frozen(checklist) if pair.foundation not in busy), None)


def count_busy(checklists: Iterable[Checklist]) -> int:
    """Pairs that wait or are in progress, in all lists: what RTO grows with (RFC 8445 §14.3)."""
    return sum(pair.state in _BUSY for checklist in checklists for pair in checklist.pairs)
