"""The addresses of this machine with all that the platform tells of them.

::

    for address in local_addresses():
        print(address.host, address.temporary, address.mtu)
"""

from dataclasses import dataclass

from natkit.net.interfaces import InterfaceAddress, addresses
from natkit.net.netlink import AddressDetails, read_details

__all__ = ["LocalAddress", "local_addresses"]


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of an interface; ``details`` is None where the platform does not tell."""

    address: InterfaceAddress
    details: AddressDetails | None

    @property
    def host(self) -> str:
        """The address, with its zone where it is link-local."""
        return self.address.host

    @property
    def temporary(self) -> bool | None:
        """Whether it was made for privacy (RFC 8981); None where the platform does not tell."""
        return None if self.details is None else self.details.temporary

    @property
    def deprecated(self) -> bool | None:
        """Whether new flows should have another (RFC 4862 §5.5.4); None as above."""
        return None if self.details is None else self.details.deprecated

    @property
    def tentative(self) -> bool | None:
        """Whether it cannot be used yet (RFC 4862 §5.4); None as above."""
        return None if self.details is None else self.details.tentative

    @property
    def mtu(self) -> int | None:
        """The MTU of its interface in bytes; None as above."""
        return None if self.details is None else self.details.mtu


def local_addresses() -> tuple[LocalAddress, ...]:
    """The addresses of all interfaces with their details, IPv4 before IPv6 on each.

    Raises OSError when the system does not say.
    """
    details = read_details()
    return tuple(LocalAddress(each, details.get(each)) for each in addresses())
