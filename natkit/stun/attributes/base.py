"""The attributes of RFC 8489 §14."""

from dataclasses import dataclass
from typing import Self

from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.attributes.shapes import (
    READABLE_TEXT,
    SENDABLE_TEXT,
    AddressAttribute,
    KnownAttribute,
    TextAttribute,
    Unsigned32Attribute,
    XorAddressAttribute,
    encode_text,
    encode_unsigned,
)
from natkit.stun.registry import REASON_PHRASES, AttributeType
from natkit.wire import Reader

MESSAGE_INTEGRITY_LENGTH = 20
"""Bytes of an HMAC-SHA1 (RFC 8489 §14.5)."""

SHA256_LENGTH = 32
"""Bytes of an HMAC-SHA256 that is not truncated, and of a USERHASH (RFC 8489 §14.6, §14.4)."""

SHA256_SHORTEST = 16
"""Bytes that truncation must leave of an HMAC-SHA256 (RFC 8489 §14.6)."""

DOMAIN_LENGTH = 255
"""Characters of an ALTERNATE-DOMAIN at most (RFC 8489 §14.16)."""


@dataclass(frozen=True, slots=True)
class MappedAddress(AddressAttribute):
    """The reflexive address for RFC 3489 clients (RFC 8489 §14.1)."""

    type = AttributeType.MAPPED_ADDRESS


@dataclass(frozen=True, slots=True)
class XorMappedAddress(XorAddressAttribute):
    """The reflexive address: where the server saw the request come from (RFC 8489 §14.2)."""

    type = AttributeType.XOR_MAPPED_ADDRESS


@dataclass(frozen=True, slots=True)
class AlternateServer(AddressAttribute):
    """Another server to try (RFC 8489 §14.15)."""

    type = AttributeType.ALTERNATE_SERVER


@dataclass(frozen=True, slots=True)
class AlternateDomain(KnownAttribute):
    """The name on the certificate of the alternate server (RFC 8489 §14.16)."""

    type = AttributeType.ALTERNATE_DOMAIN
    value: str

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read 1 to 255 ASCII characters."""
        if not (value.isascii() and 0 < len(value) <= DOMAIN_LENGTH):
            raise MalformedMessage("ALTERNATE-DOMAIN is no DNS name")
        return cls(value.decode("ascii"))

    def encode(self) -> bytes:
        """1 to 255 ASCII characters."""
        if not (self.value.isascii() and 0 < len(self.value) <= DOMAIN_LENGTH):
            raise MisuseError(f"{self.value!r} is no DNS name in ASCII")
        return self.value.encode("ascii")


@dataclass(frozen=True, slots=True)
class Username(TextAttribute):
    """Whose credential protects the message, prepared by OpaqueString (RFC 8489 §14.3)."""

    type = AttributeType.USERNAME

    def encode(self) -> bytes:
        """UTF-8 of fewer than 509 bytes."""
        encoded = self.value.encode()
        if len(encoded) >= SENDABLE_TEXT:
            raise MisuseError(f"a username of {len(encoded)} bytes; fewer than {SENDABLE_TEXT} fit")
        return encoded


@dataclass(frozen=True, slots=True)
class UserHash(KnownAttribute):
    """SHA-256 of username and realm, in place of the username (RFC 8489 §14.4)."""

    type = AttributeType.USERHASH
    digest: bytes

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read 32 bytes."""
        if len(value) != SHA256_LENGTH:
            raise MalformedMessage(f"USERHASH of {len(value)} bytes")
        return cls(value)

    def encode(self) -> bytes:
        """32 bytes."""
        if len(self.digest) != SHA256_LENGTH:
            raise MisuseError(f"USERHASH of {len(self.digest)} bytes")
        return self.digest


@dataclass(frozen=True, slots=True)
class MessageIntegrity(KnownAttribute):
    """HMAC-SHA1 of the message before it (RFC 8489 §14.5)."""

    type = AttributeType.MESSAGE_INTEGRITY
    mac: bytes

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read 20 bytes."""
        if len(value) != MESSAGE_INTEGRITY_LENGTH:
            raise MalformedMessage(f"MESSAGE-INTEGRITY of {len(value)} bytes")
        return cls(value)

    def encode(self) -> bytes:
        """20 bytes."""
        if len(self.mac) != MESSAGE_INTEGRITY_LENGTH:
            raise MisuseError(f"MESSAGE-INTEGRITY of {len(self.mac)} bytes")
        return self.mac


@dataclass(frozen=True, slots=True)
class MessageIntegritySha256(KnownAttribute):
    """HMAC-SHA256 of the message before it, perhaps truncated (RFC 8489 §14.6)."""

    type = AttributeType.MESSAGE_INTEGRITY_SHA256
    mac: bytes

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read 16 to 32 bytes, a multiple of four."""
        if not _is_sha256_length(len(value)):
            raise MalformedMessage(f"MESSAGE-INTEGRITY-SHA256 of {len(value)} bytes")
        return cls(value)

    def encode(self) -> bytes:
        """16 to 32 bytes, a multiple of four."""
        if not _is_sha256_length(len(self.mac)):
            raise MisuseError(f"MESSAGE-INTEGRITY-SHA256 of {len(self.mac)} bytes")
        return self.mac


def _is_sha256_length(length: int) -> bool:
    return SHA256_SHORTEST <= length <= SHA256_LENGTH and length % 4 == 0


@dataclass(frozen=True, slots=True)
class Fingerprint(Unsigned32Attribute):
    """CRC-32 of the message before it; ``value`` is as sent, after the XOR (RFC 8489 §14.7)."""

    type = AttributeType.FINGERPRINT


@dataclass(frozen=True, slots=True)
class ErrorCode(KnownAttribute):
    """Why a request failed (RFC 8489 §14.8)."""

    type = AttributeType.ERROR_CODE
    code: int
    reason: str = ""

    @classmethod
    def of(cls, code: int) -> Self:
        """The code with its recommended reason phrase."""
        return cls(code, REASON_PHRASES.get(code, ""))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a code from 300 to 699 and its reason, which is for people: any bytes will do."""
        return cls(*decode_error(value))

    def encode(self) -> bytes:
        """Class, number and reason."""
        return b"\0\0" + encode_error(self.code, self.reason)


def decode_error(value: bytes) -> tuple[int, str]:
    """Code and reason of ERROR-CODE and ADDRESS-ERROR-CODE; the first two bytes are not looked at.

    A reason that is not UTF-8 is shown as far as it is: no client should miss an error for it.
    """
    if not 4 <= len(value) <= 4 + READABLE_TEXT:
        raise MalformedMessage(f"an error code of {len(value)} bytes")
    hundreds, number = value[2] & 0x07, value[3]
    if not (3 <= hundreds <= 6 and number <= 99):
        raise MalformedMessage(f"error class {hundreds}, number {number}")
    return hundreds * 100 + number, value[4:].decode(errors="replace")


def encode_error(code: int, reason: str) -> bytes:
    """Class, number and reason; MisuseError for a code outside 300 to 699."""
    if not 300 <= code <= 699:
        raise MisuseError(f"error code {code} is not between 300 and 699")
    return bytes(divmod(code, 100)) + encode_text(reason)


@dataclass(frozen=True, slots=True)
class Realm(TextAttribute):
    """Whose usernames these are, prepared by OpaqueString (RFC 8489 §14.9)."""

    type = AttributeType.REALM

    def encode(self) -> bytes:
        """Up to 763 bytes: a client must echo whatever realm it could read."""
        encoded = self.value.encode()
        if len(encoded) > READABLE_TEXT:
            raise MisuseError(f"a realm of {len(encoded)} bytes; {READABLE_TEXT} fit")
        return encoded


@dataclass(frozen=True, slots=True)
class Nonce(KnownAttribute):
    """A server's challenge; bytes, for it is only ever echoed (RFC 8489 §14.10)."""

    type = AttributeType.NONCE
    value: bytes

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read up to 763 bytes."""
        if len(value) > READABLE_TEXT:
            raise MalformedMessage(f"NONCE of {len(value)} bytes")
        return cls(value)

    def encode(self) -> bytes:
        """Up to 763 bytes: a client must echo whatever nonce it could read."""
        if len(self.value) > READABLE_TEXT:
            raise MisuseError(f"NONCE of {len(self.value)} bytes")
        return self.value


@dataclass(frozen=True, slots=True)
class PasswordAlgorithm(KnownAttribute):
    """How to make the key, by the server's numbers; unknown ones too (RFC 8489 §14.12)."""

    type = AttributeType.PASSWORD_ALGORITHM
    number: int
    parameters: bytes = b""

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read one algorithm."""
        reader = Reader(value)
        algorithm = cls(*_read_algorithm(reader))
        reader.finish()
        return algorithm

    def encode(self) -> bytes:
        """Number, length and parameters, padded."""
        length = len(self.parameters)
        header = encode_unsigned(self.number, 2) + encode_unsigned(length, 2)
        return header + self.parameters + bytes(-length % 4)


@dataclass(frozen=True, slots=True)
class PasswordAlgorithms(KnownAttribute):
    """What the server offers, what it prefers first (RFC 8489 §14.11)."""

    type = AttributeType.PASSWORD_ALGORITHMS
    algorithms: tuple[PasswordAlgorithm, ...]

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read algorithms to the end."""
        reader = Reader(value)
        algorithms: list[PasswordAlgorithm] = []
        while reader.remaining:
            algorithms.append(PasswordAlgorithm(*_read_algorithm(reader)))
        return cls(tuple(algorithms))

    def encode(self) -> bytes:
        """One algorithm after the other."""
        return b"".join(algorithm.encode() for algorithm in self.algorithms)


def _read_algorithm(reader: Reader) -> tuple[int, bytes]:
    number = reader.u16()
    length = reader.u16()
    parameters = reader.raw(length)
    reader.raw(-length % 4)
    return number, parameters


@dataclass(frozen=True, slots=True)
class UnknownAttributes(KnownAttribute):
    """Comprehension-required types that the server did not understand (RFC 8489 §14.13)."""

    type = AttributeType.UNKNOWN_ATTRIBUTES
    types: tuple[int, ...]

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read types of two bytes each."""
        if len(value) % 2:
            raise MalformedMessage(f"UNKNOWN-ATTRIBUTES of {len(value)} bytes")
        return cls(
            tuple(int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value), 2))
        )

    def encode(self) -> bytes:
        """Two bytes for each type."""
        return b"".join(encode_unsigned(number, 2) for number in self.types)


@dataclass(frozen=True, slots=True)
class Software(TextAttribute):
    """Name and version of the sender's software, for people (RFC 8489 §14.14)."""

    type = AttributeType.SOFTWARE
