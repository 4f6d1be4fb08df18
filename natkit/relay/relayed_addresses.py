"""The relayed addresses of a plane: who relays where, and how peers among them are shown."""

from collections.abc import Callable, Mapping

from natkit.address import Address
from natkit.net import sockaddr
from natkit.relay.tables import Allocation, Permission

__all__ = ["RelayedAddresses"]


class RelayedAddresses:
    """Allocations by relayed address; ``elsewhere`` says whether another process relays there."""

    def __init__(self, elsewhere: Callable[[Address], bool]) -> None:
        self.here: dict[bytes, Allocation] = {}
        self.external: Mapping[bytes, str] = {}
        """What hosts here are outside of a one-to-one NAT."""
        self._elsewhere = elsewhere

    def relays(self, name: bytes, now: float) -> bool:
        """Whether ``name`` is the relayed address of an allocation that lives."""
        allocation = self.here.get(name)
        if allocation is None:
            return self._elsewhere(sockaddr.unpack(name))
        return allocation.until > now

    def admits(self, permission: Permission, name: bytes, now: float) -> bool:
        """Whether a permission that is not for every port is for the peer ``name``."""
        return permission.has_port(name) or self.relays(name, now)

    def shown(self, name: bytes, now: float) -> bytes:
        """What a client knows the peer ``name`` by."""
        host = self.external.get(sockaddr.host_bytes(name))
        if host is None or not self.relays(name, now):
            return name
        return sockaddr.pack(Address(host, sockaddr.port_of(name)))
