"""Relayed addresses of both families in one allocation, from the client's side (RFC 8656 §7)."""

from enum import Enum, auto

from natkit.address import Address, Family
from natkit.errors import ErrorResponse
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    AddressErrorCode,
    Attribute,
    RequestedAddressFamily,
    XorRelayedAddress,
)
from natkit.stun.message import Message


class Both(Enum):
    """The wish for a relayed address of each family; the server may grant one of them alone."""

    FAMILIES = auto()


Wish = Family | Both | None
"""Which relayed addresses a client asks for; without one, what the server has: IPv4."""


def form(wish: Wish) -> tuple[Attribute, ...]:
    """The attributes that say so in an Allocate request (§7.1)."""
    match wish:
        case None:
            return ()
        case Both.FAMILIES:
            return (AdditionalAddressFamily(Family.IPV6),)
        case _:
            return (RequestedAddressFamily(wish),)


def granted(response: Message, wish: Wish) -> tuple[Address, ...]:
    """The addresses that a success response grants, one of a family; none if they are of no use.

    §7.3: of a family that was not asked for none is.
    """
    addresses: dict[Family, Address] = {}
    for attribute in response.get_all(XorRelayedAddress):
        addresses.setdefault(attribute.address.family, attribute.address)
    if wish is Both.FAMILIES:
        return tuple(addresses.values())
    first = next(iter(addresses.values()), None)
    return () if first is None or wish not in (None, first.family) else (first,)


def missing(response: Message) -> ErrorResponse | None:
    """Why one of two families was not granted: AddressFamilyNotSupported, InsufficientCapacity."""
    error = response.get(AddressErrorCode)
    return None if error is None else ErrorResponse.of(error.code, error.reason)
