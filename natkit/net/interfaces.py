"""The addresses of this machine's network interfaces."""

import ipaddress
from dataclasses import dataclass

import netifaces

from natkit.address import Address, Family
from natkit.errors import MisuseError

__all__ = ["InterfaceAddress", "addresses", "canonical_host", "expand_wildcard"]


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of one interface; ``host`` is canonical, with its zone where it is link-local."""

    interface: str
    host: str

    @property
    def family(self) -> Family:
        """The address family of ``host``."""
        return Family.IPV6 if ":" in self.host else Family.IPV4

    @property
    def is_loopback(self) -> bool:
        """Whether it is reachable from this machine only."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_link_local(self) -> bool:
        """Whether it is reachable on its own link only (RFC 3927, RFC 4291 §2.5.6)."""
        return ipaddress.ip_address(self.host).is_link_local


def addresses() -> tuple[InterfaceAddress, ...]:
    """The IP addresses of all interfaces, in the system's order, IPv4 before IPv6 on each.

    An address that several interfaces bear is listed for each of them.
    """
    found: list[InterfaceAddress] = []
    for interface in netifaces.interfaces():
        try:
            by_family = netifaces.ifaddresses(interface)
        except ValueError:  # the interface went away since it was listed
            continue
        for family in Family:
            for entry in by_family.get(family.socket_family, ()):
                host = canonical_host(entry.get("addr", ""), interface)
                if host:
                    found.append(InterfaceAddress(interface, host))
    return tuple(found)


def expand_wildcard(address: Address) -> tuple[Address, ...]:
    """The local addresses that ``0.0.0.0`` or ``::`` stands for, each with the port of ``address``.

    Any other address stands for itself.  Link-local IPv6 addresses are left out: they mean nothing
    without a zone, which a ``stun:`` or ``turn:`` URI can't carry (RFC 7064 §3.1).
    """
    if not address.ip.is_unspecified:
        return (address,)
    hosts = dict.fromkeys(
        found.host
        for found in addresses()
        if found.family is address.family
        and not (found.family is Family.IPV6 and found.is_link_local)
    )
    return tuple(Address(host, address.port) for host in hosts)


def canonical_host(text: str, interface: str) -> str | None:
    """``text`` in the form of Address.host, or None when it is no IP address.

    A link-local IPv6 address without a zone gets that of ``interface``.
    """
    try:
        address = Address.of(text, 0)
    except MisuseError:
        return None
    if "%" not in address.host and address.family is Family.IPV6 and address.ip.is_link_local:
        return f"{address.host}%{interface}"
    return address.host
