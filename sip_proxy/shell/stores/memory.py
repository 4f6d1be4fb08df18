"""Bindings in memory alone: lost at a restart, until the phones register again."""

from sip_proxy.location import BindingTable, Registration
from sip_proxy.shell.stores.location import Found, Updated

__all__ = ["MemoryLocation"]


class MemoryLocation:
    """A :class:`~sip_proxy.shell.stores.location.Location`."""

    def __init__(self) -> None:
        self._table = BindingTable()

    async def open(self) -> None:
        """There is nothing to open."""

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

    async def aclose(self) -> None:
        """There is nothing to close."""
