"""The attributes of TURN: RFC 8656 §18, and its extensions RFC 6062, RFC 7635 and RFC 8016."""

from dataclasses import dataclass
from typing import Self

from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.attributes.base import decode_error, encode_error
from natkit.stun.attributes.shapes import (
    MAXIMUM_VALUE,
    FlagAttribute,
    KnownAttribute,
    OpaqueAttribute,
    SecondsAttribute,
    TextAttribute,
    Unsigned32Attribute,
    XorAddressAttribute,
    decode_unsigned,
    encode_unsigned,
)
from natkit.stun.registry import AttributeType

RESERVATION_TOKEN_LENGTH = 8
"""Bytes of a RESERVATION-TOKEN (RFC 8656 §18.10)."""


@dataclass(frozen=True, slots=True)
class XorPeerAddress(XorAddressAttribute):
    """A peer as the server sees it (RFC 8656 §18.3)."""

    type = AttributeType.XOR_PEER_ADDRESS


@dataclass(frozen=True, slots=True)
class XorRelayedAddress(XorAddressAttribute):
    """The address that the server relays for the client (RFC 8656 §18.5)."""

    type = AttributeType.XOR_RELAYED_ADDRESS


@dataclass(frozen=True, slots=True)
class ChannelNumber(KnownAttribute):
    """A channel; whether the number may be used is the server's to say (RFC 8656 §18.1)."""

    type = AttributeType.CHANNEL_NUMBER
    number: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read two bytes; two more are ignored."""
        if len(value) != 4:
            raise MalformedMessage(f"CHANNEL-NUMBER of {len(value)} bytes")
        return cls(int.from_bytes(value[:2], "big"))

    def encode(self) -> bytes:
        """The number and two bytes of zero."""
        return encode_unsigned(self.number, 2) + b"\0\0"


@dataclass(frozen=True, slots=True)
class Lifetime(SecondsAttribute):
    """How long an allocation lasts without a refresh (RFC 8656 §18.2)."""

    type = AttributeType.LIFETIME


@dataclass(frozen=True, slots=True)
class Data(OpaqueAttribute):
    """What travels between client and peer (RFC 8656 §18.4)."""

    type = AttributeType.DATA


@dataclass(frozen=True, slots=True)
class FamilyAttribute(KnownAttribute):
    """A base: an address family, by its number in STUN."""

    family: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read the family, any number; three bytes are ignored."""
        if len(value) != 4:
            raise MalformedMessage(f"{cls.__name__} of {len(value)} bytes")
        return cls(value[0])

    def encode(self) -> bytes:
        """The family and three bytes of zero."""
        return encode_unsigned(self.family, 1) + b"\0\0\0"


@dataclass(frozen=True, slots=True)
class RequestedAddressFamily(FamilyAttribute):
    """The family of the relayed address that the client wants (RFC 8656 §18.6).

    ``family`` is any byte: a number that is no :class:`~natkit.address.Family` gets 440.
    """

    type = AttributeType.REQUESTED_ADDRESS_FAMILY


@dataclass(frozen=True, slots=True)
class AdditionalAddressFamily(FamilyAttribute):
    """A second relayed address of that family, besides the first (RFC 8656 §18.11)."""

    type = AttributeType.ADDITIONAL_ADDRESS_FAMILY


@dataclass(frozen=True, slots=True)
class EvenPort(KnownAttribute):
    """An even port, and perhaps the next one kept for later (RFC 8656 §18.7)."""

    type = AttributeType.EVEN_PORT
    reserve_next: bool = False

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read the R bit of one byte."""
        return cls(decode_unsigned(value, 1) >= 0x80)

    def encode(self) -> bytes:
        """One byte."""
        return b"\x80" if self.reserve_next else b"\0"


@dataclass(frozen=True, slots=True)
class RequestedTransport(KnownAttribute):
    """What the server should speak with peers, by IP protocol number (RFC 8656 §18.8)."""

    type = AttributeType.REQUESTED_TRANSPORT
    protocol: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read the protocol; three bytes are ignored."""
        if len(value) != 4:
            raise MalformedMessage(f"REQUESTED-TRANSPORT of {len(value)} bytes")
        return cls(value[0])

    def encode(self) -> bytes:
        """The protocol and three bytes of zero."""
        return encode_unsigned(self.protocol, 1) + b"\0\0\0"


@dataclass(frozen=True, slots=True)
class DontFragment(FlagAttribute):
    """Relay with the DF bit set (RFC 8656 §18.9)."""

    type = AttributeType.DONT_FRAGMENT


@dataclass(frozen=True, slots=True)
class ReservationToken(OpaqueAttribute):
    """Names a relayed address that the server keeps for later (RFC 8656 §18.10)."""

    type = AttributeType.RESERVATION_TOKEN
    minimum_length = RESERVATION_TOKEN_LENGTH
    maximum_length = RESERVATION_TOKEN_LENGTH


@dataclass(frozen=True, slots=True)
class AddressErrorCode(KnownAttribute):
    """Why one of two requested families was not allocated (RFC 8656 §18.12)."""

    type = AttributeType.ADDRESS_ERROR_CODE
    family: int
    code: int
    reason: str = ""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read family, code and reason."""
        code, reason = decode_error(value)
        return cls(value[0], code, reason)

    def encode(self) -> bytes:
        """Family, class, number and reason."""
        family = encode_unsigned(self.family, 1)
        return family + b"\0" + encode_error(self.code, self.reason)


@dataclass(frozen=True, slots=True)
class Icmp(KnownAttribute):
    """An ICMP error that met a packet for a peer (RFC 8656 §18.13).

    ``error_data`` is the MTU of the next hop where the packet was too big, else 0.
    """

    type = AttributeType.ICMP
    icmp_type: int
    icmp_code: int
    error_data: int = 0

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read type, code and data; the first two bytes are ignored."""
        if len(value) != 8:
            raise MalformedMessage(f"ICMP of {len(value)} bytes")
        return cls(value[2], value[3], int.from_bytes(value[4:], "big"))

    def encode(self) -> bytes:
        """Two bytes of zero, type, code and data."""
        icmp_type, icmp_code = (
            encode_unsigned(self.icmp_type, 1),
            encode_unsigned(self.icmp_code, 1),
        )
        return b"\0\0" + icmp_type + icmp_code + encode_unsigned(self.error_data, 4)


@dataclass(frozen=True, slots=True)
class ConnectionId(Unsigned32Attribute):
    """Names a TCP connection between server and peer (RFC 6062 §6.2.1)."""

    type = AttributeType.CONNECTION_ID


@dataclass(frozen=True, slots=True)
class MobilityTicket(OpaqueAttribute):
    """The server's proof that an allocation is the client's; empty asks for one (RFC 8016 §3.1)."""

    type = AttributeType.MOBILITY_TICKET


@dataclass(frozen=True, slots=True)
class AccessToken(KnownAttribute):
    """A token sealed by the authorization server for the STUN server (RFC 7635 §6.2)."""

    type = AttributeType.ACCESS_TOKEN
    nonce: bytes
    encrypted_block: bytes

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a nonce with its length, and the rest."""
        length = int.from_bytes(value[:2], "big")
        if len(value) < 2 + length or len(value) < 2:
            raise MalformedMessage(f"ACCESS-TOKEN of {len(value)} bytes")
        return cls(value[2 : 2 + length], value[2 + length :])

    def encode(self) -> bytes:
        """The nonce's length, the nonce, the sealed block."""
        if 2 + len(self.nonce) + len(self.encrypted_block) > MAXIMUM_VALUE:
            raise MisuseError("ACCESS-TOKEN does not fit in an attribute")
        return encode_unsigned(len(self.nonce), 2) + self.nonce + self.encrypted_block


@dataclass(frozen=True, slots=True)
class ThirdPartyAuthorization(TextAttribute):
    """The server takes tokens; ``value`` is its name for asking one (RFC 7635 §6.1)."""

    type = AttributeType.THIRD_PARTY_AUTHORIZATION
