"""What a location store offers, whichever software keeps the bindings."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from natkit.machine import Failure
from sip_proxy.location import Binding, Outcome, Registration

__all__ = ["Found", "Location", "Together", "Updated"]

Found = Callable[[tuple[Binding, ...] | Failure], None]
Updated = Callable[[Outcome | Failure], None]

Together = Callable[[], AbstractContextManager[None]]
"""Around the results of one group: what they lead to is done in one go at its end."""


class Location(Protocol):
    """Bindings by address of record; times are Unix time.

    Results are given to a callback, at once where they are there: most lookups wait for nothing.
    """

    @property
    def name(self) -> str:
        """Where the bindings are, for people; without passwords."""
        ...

    @property
    def failure(self) -> str | None:
        """Why they cannot be had or kept, as far as is known."""
        ...

    @property
    def advice(self) -> Sequence[str]:
        """What an operator ought to change lest registrations be lost."""
        ...

    def __len__(self) -> int:
        """How many addresses of record have bindings, as far as is known."""
        ...

    async def open(self) -> None:
        """Make ready; ConfigError when the store cannot be had."""
        ...

    def answer_within(self, together: Together) -> None:
        """Give the results that are there at the same time within ``together`` from now on."""
        ...

    def find(self, address_of_record: str, unix_now: float, found: Found) -> None:
        """Give the bindings that have not expired."""
        ...

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float, updated: Updated
    ) -> None:
        """Apply a REGISTER; the outcome is given once it is kept: no answer promises more."""
        ...

    def forget_expired(self, unix_now: float) -> None:
        """Free what has expired; to be called now and then."""
        ...

    async def listed(self, limit: int) -> Sequence[str]:
        """Up to ``limit`` addresses of record with bindings, in no order; raises StoreFailure."""
        ...

    async def aclose(self) -> None:
        """Keep what is under way, and close."""
        ...
