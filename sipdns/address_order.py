"""The order in which to try the addresses of one host (RFC 6724 §6, RFC 7984 §4).

A lookup opens no socket, so the rules that compare source addresses are left out but for the first:
the caller says which families it cannot use, and those come last.  What remains is rule 6, the
precedence of the destination, and rule 8, the smaller scope.  Equal addresses share the load: they
are of one rank, and each lookup draws their order.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from natkit.address import Address, Family

__all__ = ["rank_addresses"]

# RFC 6724 §2.1, longest prefix first.
_PRECEDENCE: Final = tuple(
    (ipaddress.ip_network(prefix), precedence)
    for prefix, precedence in (
        ("::1/128", 50),
        ("::ffff:0:0/96", 35),
        ("::/96", 1),
        ("2001::/32", 5),
        ("2002::/16", 30),
        ("3ffe::/16", 1),
        ("fec0::/10", 1),
        ("fc00::/7", 3),
        ("::/0", 40),
    )
)
_LINK_LOCAL: Final = 0x2
_SITE_LOCAL: Final = 0x5
_GLOBAL: Final = 0xE


def rank_addresses(
    addresses: Iterable[str],
    *,
    usable: Sequence[Family] = tuple(Family),
    prefer: Family | None = None,
) -> list[list[str]]:
    """The addresses in ranks, best first; those of one rank are alike.

    Those of a family that is not ``usable`` come last.  ``prefer`` puts one family before the
    other, whatever the precedence table says (RFC 6724 §2.1 has it configurable).
    """

    def rank(address: str) -> tuple[bool, bool, int, int]:
        family = Address(address, 0).family
        ip = ipaddress.ip_address(address)
        return family not in usable, family is not (prefer or family), -_precedence(ip), _scope(ip)

    ranked = sorted((rank(address), address) for address in set(addresses))
    return [
        [address for _, address in group] for _, group in groupby(ranked, key=lambda one: one[0])
    ]


def _precedence(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    mapped = ip if ip.version == 6 else ipaddress.IPv6Address(f"::ffff:{ip}")
    return next(precedence for network, precedence in _PRECEDENCE if mapped in network)


def _scope(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    # RFC 6724 §3.1: private IPv4 addresses have global scope, loopback that of a link.
    if ip.is_link_local or ip.is_loopback:
        return _LINK_LOCAL
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return _SITE_LOCAL
    return _GLOBAL
