"""STUN attributes: one frozen class each, and :data:`KNOWN_ATTRIBUTES` that lists them.

What the registry does not name travels as :class:`UnknownAttribute` and leaves as it came.
"""

from dataclasses import dataclass

from natkit.stun.attributes.base import (
    AlternateDomain,
    AlternateServer,
    ErrorCode,
    Fingerprint,
    MappedAddress,
    MessageIntegrity,
    MessageIntegritySha256,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    Software,
    UnknownAttributes,
    UserHash,
    Username,
    XorMappedAddress,
)
from natkit.stun.attributes.behaviour import (
    CacheTimeout,
    ChangedAddress,
    ChangeRequest,
    OtherAddress,
    Padding,
    Password,
    ReflectedFrom,
    ResponseAddress,
    ResponseOrigin,
    ResponsePort,
    SourceAddress,
)
from natkit.stun.attributes.drafts import Nomination, Origin, SsodaAdditionalAddressFamily
from natkit.stun.attributes.ice import IceControlled, IceControlling, Priority, UseCandidate
from natkit.stun.attributes.shapes import KnownAttribute
from natkit.stun.attributes.turn import (
    AccessToken,
    AdditionalAddressFamily,
    AddressErrorCode,
    ChannelNumber,
    ConnectionId,
    Data,
    DontFragment,
    EvenPort,
    Icmp,
    Lifetime,
    MobilityTicket,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    ThirdPartyAuthorization,
    XorPeerAddress,
    XorRelayedAddress,
)

__all__ = [
    "KNOWN_ATTRIBUTES",
    "AccessToken",
    "AdditionalAddressFamily",
    "AddressErrorCode",
    "AlternateDomain",
    "AlternateServer",
    "Attribute",
    "CacheTimeout",
    "ChangeRequest",
    "ChangedAddress",
    "ChannelNumber",
    "ConnectionId",
    "Data",
    "DontFragment",
    "ErrorCode",
    "EvenPort",
    "Fingerprint",
    "IceControlled",
    "IceControlling",
    "Icmp",
    "KnownAttribute",
    "Lifetime",
    "MappedAddress",
    "MessageIntegrity",
    "MessageIntegritySha256",
    "MobilityTicket",
    "Nomination",
    "Nonce",
    "Origin",
    "OtherAddress",
    "Padding",
    "Password",
    "PasswordAlgorithm",
    "PasswordAlgorithms",
    "Priority",
    "Realm",
    "ReflectedFrom",
    "RequestedAddressFamily",
    "RequestedTransport",
    "ReservationToken",
    "ResponseAddress",
    "ResponseOrigin",
    "ResponsePort",
    "Software",
    "SourceAddress",
    "SsodaAdditionalAddressFamily",
    "ThirdPartyAuthorization",
    "UnknownAttribute",
    "UnknownAttributes",
    "UseCandidate",
    "UserHash",
    "Username",
    "XorMappedAddress",
    "XorPeerAddress",
    "XorRelayedAddress",
]


@dataclass(frozen=True, slots=True)
class UnknownAttribute:
    """An attribute that natkit does not understand, byte for byte."""

    type: int
    value: bytes

    def encode(self) -> bytes:
        """The value as it came."""
        return self.value


Attribute = KnownAttribute | UnknownAttribute

KNOWN_ATTRIBUTES: tuple[type[KnownAttribute], ...] = (
    MappedAddress,
    ResponseAddress,
    ChangeRequest,
    SourceAddress,
    ChangedAddress,
    Username,
    Password,
    MessageIntegrity,
    ErrorCode,
    UnknownAttributes,
    ReflectedFrom,
    ChannelNumber,
    Lifetime,
    XorPeerAddress,
    Data,
    Realm,
    Nonce,
    XorRelayedAddress,
    RequestedAddressFamily,
    EvenPort,
    RequestedTransport,
    DontFragment,
    AccessToken,
    MessageIntegritySha256,
    PasswordAlgorithm,
    UserHash,
    XorMappedAddress,
    ReservationToken,
    Priority,
    UseCandidate,
    Padding,
    ResponsePort,
    ConnectionId,
    AdditionalAddressFamily,
    AddressErrorCode,
    PasswordAlgorithms,
    AlternateDomain,
    Icmp,
    Software,
    AlternateServer,
    CacheTimeout,
    Fingerprint,
    IceControlled,
    IceControlling,
    ResponseOrigin,
    OtherAddress,
    ThirdPartyAuthorization,
    MobilityTicket,
    Origin,
    Nomination,
    SsodaAdditionalAddressFamily,
)
"""Every attribute class, in the order of the registry."""
