"""Many REGISTERs at once: what stores that are shared apply in one transaction."""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Final

from natkit.machine import Failure
from sip_proxy.location.binding import Binding
from sip_proxy.location.registration import Accepted, Outcome, Refused, Registration

__all__ = ["NO_ROOM", "Change", "Held", "apply_all"]

NO_ROOM: Final = Refused(503, "No room for more registrations")

Held = tuple[Binding, ...] | Failure
"""What a store has of one address of record, or why that cannot be read."""


@dataclass(frozen=True, slots=True)
class Change:
    """A REGISTER for one address of record that came at ``unix_now``."""

    address_of_record: str
    registration: Registration
    unix_now: float


def apply_all(
    changes: Iterable[Change], held: MutableMapping[str, Held], room: int
) -> list[Outcome | Failure]:
    """Apply one after the other; ``held`` is then what the store is to hold.

    ``held`` lacks what has no bindings.  ``room``: for how many more addresses of record there is
    some.
    """
    outcomes: list[Outcome | Failure] = []
    for change in changes:
        name = change.address_of_record
        before = held.get(name, ())
        if isinstance(before, Failure):
            outcomes.append(before)
            continue
        if change.registration.changes and not before and room <= 0:
            outcomes.append(NO_ROOM)
            continue
        outcome = change.registration.apply(before, change.unix_now)
        if isinstance(outcome, Accepted):
            held[name] = outcome.bindings
            room += bool(before) - bool(outcome.bindings)
        outcomes.append(outcome)
    return outcomes
