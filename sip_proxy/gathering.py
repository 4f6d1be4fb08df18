"""The contacts of the targets that a hook named: its users' phones, and all else as it is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from natkit.sip import parse_absolute_uri
from sip_proxy.admission import Admitted
from sip_proxy.hooks import Target
from sip_proxy.rejection import Rejection
from sip_proxy.target_set import TargetSet
from sip_proxy.targets import Contact

__all__ = ["gather"]

Groups = list[list[Contact]]
Then = Callable[[Groups, float], None]


def gather(
    target_set: TargetSet,
    one: Admitted,
    targets: Sequence[Sequence[Target]],
    then: Then,
    now: float,
) -> None:
    """``then`` gets the groups in their order, without targets that cannot be reached."""
    groups: Groups = [[] for _ in targets]
    waiting = sum(map(len, targets))

    def found(target: Target, place: int, result: Sequence[Contact] | Rejection, at: float) -> None:
        nonlocal waiting
        if not isinstance(result, Rejection):
            groups[place] += [replace(each, ring_for=target.ring_for) for each in result]
        waiting -= 1
        if not waiting:
            then([group for group in groups if group], at)

    for place, group in enumerate(targets):
        for target in group:
            asked = one.to(parse_absolute_uri(target.uri))  # a Target's URI can be read
            target_set.find(asked, partial(found, target, place), now)
