"""What a client asks its server for, and when to ask again (RFC 8656 §7.1, §8.1, §10.1, §12.1)."""

from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.errors import ErrorResponse, NatkitError, TransactionTimeout
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    Lifetime,
    MobilityTicket,
    RequestedTransport,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from natkit.turn import dual
from natkit.turn.channels import Channel
from natkit.turn.registry import DEFAULT_LIFETIME

RETRY_DELAY: Final = 10.0
"""Seconds after which a refresh that the server could not do for the moment is tried again."""

SERVER_FAILURE: Final = 500
"""Error codes from here on are the server's trouble, and may pass (RFC 8489 §14.8)."""


@dataclass(frozen=True, slots=True)
class Allocate:
    """Create the allocation; ``lifetime`` in seconds, ``family`` and a ticket are wishes.

    ``protocol`` is how the server speaks with peers, by its IP number.
    """

    lifetime: int | None
    family: dual.Wish
    mobile: bool = False
    protocol: int = UDP_PROTOCOL


@dataclass(frozen=True, slots=True)
class Refresh:
    """Keep the allocation; with its ``ticket``, from another address."""

    lifetime: int | None
    ticket: bytes | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """End the allocation."""


@dataclass(frozen=True, slots=True)
class CreatePermission:
    """Permit the hosts of these peers, all or none."""

    peers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class BindChannel:
    """Bind a channel; ``carries_permission`` when nothing else requests one for its peer."""

    channel: Channel
    carries_permission: bool


@dataclass(frozen=True, slots=True)
class ConnectPeer:
    """Open a TCP connection to ``peer`` (RFC 6062 §4.3)."""

    peer: Address


Purpose = Allocate | Refresh | Delete | CreatePermission | BindChannel | ConnectPeer


def form(purpose: Purpose) -> tuple[Method, tuple[Attribute, ...]]:
    """Method and attributes of a request, without those that authenticate it."""
    match purpose:
        case Allocate(lifetime, family, mobile, protocol):
            return Method.ALLOCATE, (
                RequestedTransport(protocol),
                *dual.form(family),
                *_lifetime(lifetime),
                *_ticket(b"" if mobile else None),
            )
        case Refresh(lifetime, ticket):
            return Method.REFRESH, (*_lifetime(lifetime), *_ticket(ticket))
        case Delete():
            return Method.REFRESH, (Lifetime(0),)
        case CreatePermission(peers):
            return Method.CREATE_PERMISSION, tuple(XorPeerAddress(peer) for peer in peers)
        case BindChannel(channel):
            return Method.CHANNEL_BIND, (
                ChannelNumber(channel.number),
                XorPeerAddress(channel.peer),
            )
        case ConnectPeer(peer):
            return Method.CONNECT, (XorPeerAddress(peer),)


def lifetime_in(response: Message) -> float:
    """The lifetime in a response, in seconds; the attribute is mandatory (RFC 8656 §7.2, §8.2)."""
    granted = response.get(Lifetime)
    return DEFAULT_LIFETIME if granted is None else float(granted.seconds)


def may_pass(error: NatkitError) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, ErrorResponse):
        return error.code >= SERVER_FAILURE
    return isinstance(error, TransactionTimeout)


def retry_delay(error: NatkitError) -> float:
    """Seconds to wait before that: none after a timeout, which took long enough."""
    return 0.0 if isinstance(error, TransactionTimeout) else RETRY_DELAY


def _lifetime(seconds: int | None) -> tuple[Lifetime, ...]:
    return () if seconds is None else (Lifetime(seconds),)


def _ticket(value: bytes | None) -> tuple[MobilityTicket, ...]:
    return () if value is None else (MobilityTicket(value),)
