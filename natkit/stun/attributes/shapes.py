"""The shapes that attribute values come in; every attribute is one of them, or its own.

An attribute is a frozen value with ``type``, its number in the registry, and two ways to the wire:
``encode`` gives the value without header and padding, ``decode`` reads it.  ``decode`` raises
MalformedMessage, ``encode`` raises MisuseError for what the RFC does not allow to be sent.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from natkit.address import Address, Family
from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.registry import MAGIC_COOKIE, TRANSACTION_ID_LENGTH

MAXIMUM_VALUE = 0xFFFF
"""Bytes that the length field of an attribute can count (RFC 8489 §14)."""

READABLE_TEXT = 763
"""Bytes of text that must be read: six for each of 127 characters (RFC 8489 §14.3, §14.8)."""

SENDABLE_TEXT = 509
"""Bytes of text that may be sent at most (RFC 8489 §14.8)."""

TEXT_CHARACTERS = 127
"""Characters of text that may be sent at most: fewer than 128 (RFC 8489 §14.8)."""

_IPV4_LENGTH = 8
_IPV6_LENGTH = 20
_VALUE_LENGTH: dict[int, int] = {Family.IPV4: _IPV4_LENGTH, Family.IPV6: _IPV6_LENGTH}
_FAMILY_FIELD = {4: bytes((0, Family.IPV4)), 16: bytes((0, Family.IPV6))}
# The port meets the upper half of the cookie, the address all of it and what follows.
_IPV4_MASK = (MAGIC_COOKIE >> 16) << 32 | MAGIC_COOKIE


class KnownAttribute:
    """An attribute that the registry names; the two methods are for each kind to define.

    It is no ABC, whose ``isinstance`` would slow down every look into a message.
    """

    __slots__ = ()

    type: ClassVar[int]

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a value as it came; MalformedMessage when it does not follow its format."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The value for the wire; MisuseError when it may not be sent."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class AddressAttribute(KnownAttribute):
    """A transport address as it is (RFC 8489 §14.1)."""

    address: Address

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read family, port and address; the first byte is ignored."""
        if len(value) < 2 or _VALUE_LENGTH.get(value[1]) != len(value):
            raise MalformedMessage(f"{len(value)} bytes are no address of a known family")
        return cls(Address.from_packed(value[4:], int.from_bytes(value[2:4], "big")))

    def encode(self) -> bytes:
        """Family, port and address."""
        packed = self.address.packed
        return _FAMILY_FIELD[len(packed)] + self.address.port.to_bytes(2, "big") + packed


@dataclass(frozen=True, slots=True)
class XorAddressAttribute(AddressAttribute):
    """A transport address hidden from NATs that rewrite addresses (RFC 8489 §14.2).

    ``decode`` and ``encode`` see the plain address: the message's codec applies :func:`obfuscate`,
    for only it knows the transaction id.
    """


def obfuscate(value: bytes, transaction_id: bytes) -> bytes:
    """XOR the port and address of an XOR-ed attribute's value, in either direction.

    A value that is no address of a known family comes back as it is, for ``decode`` to refuse.
    """
    if len(value) == _IPV4_LENGTH:
        return (int.from_bytes(value, "big") ^ _IPV4_MASK).to_bytes(_IPV4_LENGTH, "big")
    if len(value) == _IPV6_LENGTH:
        mask = _IPV4_MASK << 96 | int.from_bytes(transaction_id[-TRANSACTION_ID_LENGTH:], "big")
        return (int.from_bytes(value, "big") ^ mask).to_bytes(_IPV6_LENGTH, "big")
    return value


@dataclass(frozen=True, slots=True)
class TextAttribute(KnownAttribute):
    """UTF-8 text: fewer than 128 characters when sent, 763 bytes when read."""

    value: str

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read up to 763 bytes of UTF-8."""
        return cls(decode_text(value))

    def encode(self) -> bytes:
        """UTF-8 of fewer than 128 characters."""
        return encode_text(self.value)


def decode_text(value: bytes) -> str:
    """UTF-8 of up to 763 bytes; MalformedMessage otherwise."""
    if len(value) > READABLE_TEXT:
        raise MalformedMessage(f"text of {len(value)} bytes; {READABLE_TEXT} are allowed")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("text is not UTF-8") from None


def encode_text(value: str) -> bytes:
    """UTF-8 of fewer than 128 characters; MisuseError when there are more."""
    encoded = value.encode()
    if len(value) > TEXT_CHARACTERS or len(encoded) > SENDABLE_TEXT:
        raise MisuseError(f"text of {len(value)} characters; {TEXT_CHARACTERS} are allowed")
    return encoded


@dataclass(frozen=True, slots=True)
class SecondsAttribute(KnownAttribute):
    """A time in whole seconds, in four bytes."""

    seconds: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read four bytes."""
        return cls(decode_unsigned(value, 4))

    def encode(self) -> bytes:
        """Four bytes."""
        return encode_unsigned(self.seconds, 4)


@dataclass(frozen=True, slots=True)
class OpaqueAttribute(KnownAttribute):
    """Bytes that mean something elsewhere, between two lengths."""

    value: bytes

    minimum_length: ClassVar[int] = 0
    maximum_length: ClassVar[int] = MAXIMUM_VALUE

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read any bytes of a length that is allowed."""
        if not cls.minimum_length <= len(value) <= cls.maximum_length:
            raise MalformedMessage(f"{cls.__name__} of {len(value)} bytes")
        return cls(value)

    def encode(self) -> bytes:
        """The bytes as they are."""
        if not self.minimum_length <= len(self.value) <= self.maximum_length:
            raise MisuseError(f"{type(self).__name__} of {len(self.value)} bytes")
        return self.value


@dataclass(frozen=True, slots=True)
class Unsigned32Attribute(KnownAttribute):
    """An unsigned number of 32 bits."""

    value: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read four bytes."""
        return cls(decode_unsigned(value, 4))

    def encode(self) -> bytes:
        """Four bytes."""
        return encode_unsigned(self.value, 4)


@dataclass(frozen=True, slots=True)
class Unsigned64Attribute(KnownAttribute):
    """An unsigned number of 64 bits."""

    value: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read eight bytes."""
        return cls(decode_unsigned(value, 8))

    def encode(self) -> bytes:
        """Eight bytes."""
        return encode_unsigned(self.value, 8)


@dataclass(frozen=True, slots=True)
class FlagAttribute(KnownAttribute):
    """An attribute without a value, which says something by being there."""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read nothing."""
        if value:
            raise MalformedMessage(f"{cls.__name__} has a value")
        return cls()

    def encode(self) -> bytes:
        """Nothing."""
        return b""


def decode_unsigned(value: bytes, length: int) -> int:
    """A number of exactly ``length`` bytes; MalformedMessage otherwise."""
    if len(value) != length:
        raise MalformedMessage(f"a number of {length} bytes has {len(value)}")
    return int.from_bytes(value, "big")


def encode_unsigned(value: int, length: int) -> bytes:
    """``length`` bytes; MisuseError when the number does not fit."""
    try:
        return value.to_bytes(length, "big")
    except OverflowError:
        raise MisuseError(f"{value} does not fit in {length} bytes") from None
