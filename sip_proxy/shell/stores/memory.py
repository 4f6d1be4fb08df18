"""Bindings in memory alone: lost at a restart, until the phones register again."""

from collections.abc import Sequence
from itertools import islice

from sip_proxy.location import BindingTable, Registration
from sip_proxy.location.table import LARGEST_COUNT
from sip_proxy.shell.stores.location import Found, Together, Updated

__all__ = ["MemoryLocation"]


class MemoryLocation:
    """A :class:`~sip_proxy.shell.stores.location.Location`."""

    name = "memory"
    failure: str | None = None
    advice: Sequence[str] = ()

    def __init__(self, largest_count: int = LARGEST_COUNT) -> None:
        self._table = BindingTable(largest_count)

    def __len__(self) -> int:
        """How many addresses of record have bindings."""
        return len(self._table)

    async def open(self) -> None:
        """There is nothing to open."""

    def answer_within(self, together: Together) -> None:
        """Each result is given alone, at once."""

    def find(self, address_of_record: str, unix_now: float, found: Found) -> None:
        """Give the bindings that have not expired."""
        found(self._table.find(address_of_record, unix_now))

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float, updated: Updated
    ) -> None:
        """Apply a REGISTER."""
        updated(self._table.update(address_of_record, registration, unix_now))

    def forget_expired(self, unix_now: float) -> None:
        """Free what has expired."""
        self._table.forget_expired(unix_now)

    async def listed(self, limit: int) -> Sequence[str]:
        """Up to ``limit`` addresses of record with bindings."""
        return list(islice(self._table, limit))

    async def aclose(self) -> None:
        """There is nothing to close."""
