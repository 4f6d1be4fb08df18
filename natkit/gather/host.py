"""Which addresses of a host become candidates, and in what order (RFC 8445 §5.1.1.1, RFC 8421)."""

import ipaddress
from collections.abc import Iterable, Sequence

from natkit.address import Family
from natkit.gather.settings import GatherSettings, HostAddress
from natkit.ice.priority import local_preferences

__all__ = ["preferences", "usable"]

_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
_PREFIX_BITS = 64
"""Of an interface's network: what an identifier that allows tracking is appended to (RFC 4291)."""


def usable(addresses: Iterable[HostAddress], settings: GatherSettings) -> list[HostAddress]:
    """The addresses to gather from, each once, the best first."""
    allowed = [
        each
        for each in addresses
        if each.family in settings.families
        and not each.tentative
        and _may_be_told(each, loopback=settings.loopback)
        and settings.interface_filter(each.interface)
        and settings.address_filter(each)
    ]
    private = [each for each in allowed if each.temporary and not each.deprecated]
    kept = [each for each in allowed if not _is_given_away(each, private)]
    fresh = [each for each in kept if not each.deprecated]
    # A deprecated address begins no new conversations where its interface has another (RFC 4862).
    renewed = {(each.interface, each.family) for each in fresh}
    kept = [
        each for each in kept if not each.deprecated or (each.interface, each.family) not in renewed
    ]
    kept.sort(key=_rank)
    return list({each.host: each for each in reversed(kept)}.values())[::-1]


def preferences(hosts: Sequence[HostAddress]) -> dict[str, int]:
    """The local preference of each, as they come from :func:`usable`."""
    return local_preferences(each.host for each in hosts)


def _may_be_told(address: HostAddress, *, loopback: bool) -> bool:
    ip = address.ip
    if ip.is_loopback:
        return loopback
    if ip.is_unspecified or ip.is_multicast:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return True
    plain = ipaddress.IPv6Address(ip.packed)
    return plain not in _SITE_LOCAL and plain not in _IPV4_COMPATIBLE and plain.ipv4_mapped is None


def _is_given_away(address: HostAddress, private: Sequence[HostAddress]) -> bool:
    """Whether it would tell what temporary addresses are there to hide (RFC 8445 §5.1.1.1)."""
    if address.family is Family.IPV4 or address.temporary:
        return False
    if address.ip.is_link_local:
        return bool(private)
    return any(
        each.interface == address.interface and _prefix(each) == _prefix(address)
        for each in private
    )


def _prefix(address: HostAddress) -> int:
    return int.from_bytes(address.ip.packed) >> (128 - _PREFIX_BITS)


def _rank(address: HostAddress) -> tuple[bool, bool, bool, bool, bool]:
    """Lower is better: what the system itself would use, then by RFC 6724's preferences."""
    ip = address.ip
    return (
        ip.is_loopback,
        ip.is_link_local,
        bool(address.deprecated),
        not address.is_default,
        address.family is Family.IPV4,
    )
