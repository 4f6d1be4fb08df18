"""The default gateways of this machine."""

from dataclasses import dataclass

import netifaces

from natkit.address import Address, Family
from natkit.errors import MisuseError

__all__ = ["Gateway", "default_gateways"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router that packets for elsewhere go to; ``host`` has its zone where it is link-local."""

    host: str
    interface: str

    @property
    def family(self) -> Family:
        """The address family of ``host``."""
        return Family.IPV6 if ":" in self.host else Family.IPV4


def default_gateways() -> tuple[Gateway, ...]:
    """The default gateways, IPv4 before IPv6, the system's preferred one of a family first."""
    known = netifaces.gateways()
    preferred = known.get("default")
    found: dict[Gateway, None] = {}
    for family in Family:
        entries: list[tuple[str, str]] = []
        if isinstance(preferred, dict) and family.socket_family in preferred:
            entries.append(preferred[family.socket_family][:2])
        routes = known.get(family.socket_family)
        if isinstance(routes, list):
            entries += [route[:2] for route in routes]
        for host, interface in entries:
            gateway = _gateway(host, interface)
            if gateway is not None:
                found[gateway] = None
    return tuple(found)


def _gateway(host: str, interface: str) -> Gateway | None:
    try:
        address = Address.of(host, 0)
    except MisuseError:  # a route without a router has an interface in its place
        return None
    if "%" not in address.host and address.family is Family.IPV6 and address.ip.is_link_local:
        return Gateway(f"{address.host}%{interface}", interface)
    return Gateway(address.host, interface)
