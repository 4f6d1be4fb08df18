"""The attributes of NAT behaviour discovery: RFC 5780 §7, and RFC 3489 §11.2 before it."""

from dataclasses import dataclass
from typing import Self

from natkit.errors import MalformedMessage
from natkit.stun.attributes.shapes import (
    AddressAttribute,
    KnownAttribute,
    OpaqueAttribute,
    SecondsAttribute,
    decode_unsigned,
    encode_unsigned,
)
from natkit.stun.registry import AttributeType

_CHANGE_IP = 0x04
_CHANGE_PORT = 0x02


@dataclass(frozen=True, slots=True)
class ChangeRequest(KnownAttribute):
    """Answer from another address or port (RFC 5780 §7.2, RFC 3489 §11.2.4)."""

    type = AttributeType.CHANGE_REQUEST
    change_ip: bool = False
    change_port: bool = False

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read the bits A and B of four bytes."""
        flags = decode_unsigned(value, 4)
        return cls(bool(flags & _CHANGE_IP), bool(flags & _CHANGE_PORT))

    def encode(self) -> bytes:
        """Four bytes."""
        flags = (_CHANGE_IP if self.change_ip else 0) | (_CHANGE_PORT if self.change_port else 0)
        return encode_unsigned(flags, 4)


@dataclass(frozen=True, slots=True)
class ResponseOrigin(AddressAttribute):
    """Where the response was sent from (RFC 5780 §7.3)."""

    type = AttributeType.RESPONSE_ORIGIN


@dataclass(frozen=True, slots=True)
class OtherAddress(AddressAttribute):
    """Where the server would answer from when asked to change (RFC 5780 §7.4)."""

    type = AttributeType.OTHER_ADDRESS


@dataclass(frozen=True, slots=True)
class ResponsePort(KnownAttribute):
    """Answer to another port of the client (RFC 5780 §7.5)."""

    type = AttributeType.RESPONSE_PORT
    port: int

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a port; the two bytes of padding may be counted in the length or not."""
        if len(value) not in (2, 4):
            raise MalformedMessage(f"RESPONSE-PORT of {len(value)} bytes")
        return cls(int.from_bytes(value[:2], "big"))

    def encode(self) -> bytes:
        """The port and two bytes of zero."""
        return encode_unsigned(self.port, 2) + b"\0\0"


@dataclass(frozen=True, slots=True)
class Padding(OpaqueAttribute):
    """Bytes that only make the message long (RFC 5780 §7.6)."""

    type = AttributeType.PADDING


@dataclass(frozen=True, slots=True)
class CacheTimeout(SecondsAttribute):
    """Seconds for which a server would remember a request; RFC 5780 §9.1 keeps the number."""

    type = AttributeType.CACHE_TIMEOUT


@dataclass(frozen=True, slots=True)
class ResponseAddress(AddressAttribute):
    """Answer to another address; obeying it would reflect floods (RFC 3489 §11.2.2)."""

    type = AttributeType.RESPONSE_ADDRESS


@dataclass(frozen=True, slots=True)
class SourceAddress(AddressAttribute):
    """Where a classic response was sent from (RFC 3489 §11.2.5)."""

    type = AttributeType.SOURCE_ADDRESS


@dataclass(frozen=True, slots=True)
class ChangedAddress(AddressAttribute):
    """Where a classic server answers from when asked to change (RFC 3489 §11.2.3)."""

    type = AttributeType.CHANGED_ADDRESS


@dataclass(frozen=True, slots=True)
class Password(OpaqueAttribute):
    """A shared secret in clear, of the Shared Secret method that is gone (RFC 3489 §11.2.7)."""

    type = AttributeType.PASSWORD


@dataclass(frozen=True, slots=True)
class ReflectedFrom(AddressAttribute):
    """Who asked for an answer to be sent elsewhere (RFC 3489 §11.2.11)."""

    type = AttributeType.REFLECTED_FROM
