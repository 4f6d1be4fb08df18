"""The bindings in memory, by address of record."""

from collections.abc import Iterator
from typing import Final

from sip_proxy.location.binding import Binding
from sip_proxy.location.group import NO_ROOM
from sip_proxy.location.registration import Accepted, Outcome, Registration

__all__ = ["BindingTable"]


LARGEST_COUNT: Final = 500_000
"""Addresses of record with bindings: where nobody need prove who they are, anybody can add some."""


class BindingTable:
    """The bindings by address of record; times are Unix time."""

    def __init__(self, largest_count: int = LARGEST_COUNT) -> None:
        self._largest_count = largest_count
        self._bindings: dict[str, tuple[Binding, ...]] = {}

    def __len__(self) -> int:
        return len(self._bindings)

    def __iter__(self) -> Iterator[str]:
        return iter(self._bindings)

    def find(self, address_of_record: str, unix_now: float) -> tuple[Binding, ...]:
        """The bindings that have not expired."""
        found = self._bindings.get(address_of_record, ())
        return tuple([binding for binding in found if binding.expires_at > unix_now])

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float
    ) -> Outcome:
        """Apply a REGISTER."""
        before = self._bindings.get(address_of_record, ())
        if registration.changes and not before and len(self._bindings) >= self._largest_count:
            return NO_ROOM
        outcome = registration.apply(before, unix_now)
        if isinstance(outcome, Accepted):
            self.put(address_of_record, outcome.bindings)
        return outcome

    def put(self, address_of_record: str, bindings: tuple[Binding, ...]) -> None:
        """Set the bindings of one address of record; none forgets it."""
        if bindings:
            self._bindings[address_of_record] = bindings
        else:
            self._bindings.pop(address_of_record, None)

    def get(self, address_of_record: str) -> tuple[Binding, ...]:
        """All bindings, those that have expired among them."""
        return self._bindings.get(address_of_record, ())

    def forget_expired(self, unix_now: float) -> None:
        """Free what has expired; to be called now and then."""
        for address_of_record in list(self._bindings):
            live = self.find(address_of_record, unix_now)
            if live:
                self._bindings[address_of_record] = live
            else:
                del self._bindings[address_of_record]
