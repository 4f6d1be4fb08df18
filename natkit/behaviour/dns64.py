"""The prefix of a NAT64, by what the DNS makes of one name (RFC 7050)."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from natkit.behaviour.nat64 import PREFIX_LENGTHS, embedded
from natkit.errors import MisuseError

__all__ = ["WELL_KNOWN_NAME", "embed", "prefixes_of"]

WELL_KNOWN_NAME: Final = "ipv4only.arpa"
"""It has no IPv6 address but those that a DNS64 makes (RFC 7050 §8.1)."""

WELL_KNOWN_ADDRESSES: Final = (IPv4Address("192.0.0.170"), IPv4Address("192.0.0.171"))
"""The IPv4 addresses of that name (RFC 7050 §8.2)."""


def prefixes_of(hosts: Iterable[str]) -> tuple[IPv6Network, ...]:
    """The prefixes of the NAT64s that made these addresses of :data:`WELL_KNOWN_NAME` (§3).

    What is no such address is passed over.
    """
    found: dict[IPv6Network, None] = {}
    for host in hosts:
        try:
            address = IPv6Address(host.partition("%")[0])
        except ValueError:
            continue
        for length in PREFIX_LENGTHS:
            # Nothing stands behind the embedded address, so there is one way to read it at most.
            if any(
                embedded(address.packed, length, each.packed) == address.packed
                for each in WELL_KNOWN_ADDRESSES
            ):
                found[IPv6Network((address, length), strict=False)] = None
    return tuple(found)


def embed(prefix: IPv6Network, host: str) -> str:
    """The IPv6 address that stands for IPv4's ``host``; MisuseError for a prefix that is none."""
    if prefix.prefixlen not in PREFIX_LENGTHS:
        raise MisuseError(f"a NAT64 has no prefix of {prefix.prefixlen} bits")
    packed = embedded(prefix.network_address.packed, prefix.prefixlen, IPv4Address(host).packed)
    return str(IPv6Address(packed))
