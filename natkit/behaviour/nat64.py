"""Addresses on the other side of a NAT64, as they are reached from this side (RFC 6052 §2)."""

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from natkit.address import Address

__all__ = ["PREFIX_LENGTHS", "embedded", "reached_as"]

PREFIX_LENGTHS: Final = (96, 64, 56, 48, 40, 32)
"""Bits of the translator's prefix that RFC 6052 §2.2 allows; the most usual one first."""

_RESERVED: Final = 8
"""The octet that stays zero (RFC 6052 §2.2, "u")."""


def reached_as(there: Address, *, seen: Address, told: Address) -> Address:
    """How to send to ``there``, by a server that is ``seen`` at one address and tells another one.

    A server behind a NAT64 is seen at an IPv6 address that holds the IPv4 address it knows itself
    by (RESPONSE-ORIGIN, RFC 5780 §7.3); the rest of it is the translator's prefix, which leads to
    the server's other addresses too.  Anything else leaves ``there`` as it is.
    """
    here, known, far = seen.ip, told.ip, there.ip
    if not (
        isinstance(here, IPv6Address)
        and isinstance(known, IPv4Address)
        and isinstance(far, IPv4Address)
    ):
        return there
    for length in PREFIX_LENGTHS:
        if embedded(here.packed, length, known.packed) == here.packed:
            return Address.from_packed(embedded(here.packed, length, far.packed), there.port)
    return there


def embedded(prefix: bytes, length: int, ipv4: bytes) -> bytes:
    """RFC 6052 §2.2's table: the prefix, then the address around the octet that is kept zero."""
    start = length // 8
    octets = bytearray(prefix[:start] + bytes(16 - start))
    places = [at for at in range(start, 16) if at != _RESERVED]
    for at, octet in zip(places, ipv4, strict=False):
        octets[at] = octet
    return bytes(octets)
