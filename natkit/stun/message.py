"""STUN messages between bytes and values (RFC 8489 §5, §14)."""

import struct
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self, TypeVar
from zlib import crc32

from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.attributes import (
    KNOWN_ATTRIBUTES,
    Attribute,
    ErrorCode,
    KnownAttribute,
    UnknownAttribute,
)
from natkit.stun.attributes.base import MESSAGE_INTEGRITY_LENGTH, SHA256_LENGTH
from natkit.stun.attributes.shapes import XorAddressAttribute, obfuscate
from natkit.stun.integrity import IntegrityKey, hmac_sha1, hmac_sha256
from natkit.stun.registry import (
    CLASSIC_TRANSACTION_ID_LENGTH,
    FINGERPRINT_XOR,
    FIRST_COMPREHENSION_OPTIONAL,
    HEADER_LENGTH,
    MAGIC_COOKIE_BYTES,
    METHOD_MAXIMUM,
    TRANSACTION_ID_LENGTH,
    AttributeType,
    Integrity,
    MessageClass,
    message_type,
    split_message_type,
)

MAXIMUM_LENGTH = 0xFFFC
"""Bytes of attributes that the length field can count: a multiple of four (RFC 8489 §5)."""

A = TypeVar("A", bound=KnownAttribute)

_DECODERS: dict[int, Callable[[bytes], KnownAttribute]] = {
    attribute.type: attribute.decode for attribute in KNOWN_ATTRIBUTES
}

_OBFUSCATED = frozenset(
    int(attribute.type)
    for attribute in KNOWN_ATTRIBUTES
    if issubclass(attribute, XorAddressAttribute)
)

# Every attribute of every message passes here, so one call reads its header, not a Reader's four.
_TYPE_AND_LENGTH = struct.Struct(">HH")
# Plain numbers: enum members compare and hash more slowly, and every attribute passes here.
_MESSAGE_INTEGRITY = int(AttributeType.MESSAGE_INTEGRITY)
_MESSAGE_INTEGRITY_SHA256 = int(AttributeType.MESSAGE_INTEGRITY_SHA256)
_FINGERPRINT = int(AttributeType.FINGERPRINT)
_FINGERPRINT_HEADER = _FINGERPRINT.to_bytes(2, "big") + b"\0\4"
_FINGERPRINT_SIZE = 8
_INTEGRITY_HEADER = _TYPE_AND_LENGTH.pack(_MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_LENGTH)
_SHA256_HEADER = _TYPE_AND_LENGTH.pack(_MESSAGE_INTEGRITY_SHA256, SHA256_LENGTH)
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

# Attributes whose values many messages share: they are frozen, so one object serves them all.
_RECURRING = frozenset(
    map(
        int,
        (
            AttributeType.USERNAME,
            AttributeType.CHANNEL_NUMBER,
            AttributeType.LIFETIME,
            AttributeType.XOR_PEER_ADDRESS,
            AttributeType.REALM,
            AttributeType.REQUESTED_ADDRESS_FAMILY,
            AttributeType.EVEN_PORT,
            AttributeType.REQUESTED_TRANSPORT,
            AttributeType.DONT_FRAGMENT,
            AttributeType.PASSWORD_ALGORITHM,
            AttributeType.ADDITIONAL_ADDRESS_FAMILY,
            AttributeType.PASSWORD_ALGORITHMS,
            AttributeType.SOFTWARE,
        ),
    )
)
_DECODED_KEPT = 256
_LONGEST_KEPT = 64
_KINDS_KEPT = 64


_Wire = tuple[bytes, int, int, list[int], dict[type[Attribute], Attribute]]
"""What only a parsed message has: its bytes, where in them its two integrity attributes are (0:
nowhere), the types of its attributes, and the first attribute of each kind."""


@dataclass(frozen=True, slots=True)
class Message:
    """One STUN message.

    ``transaction_id`` has 12 bytes, or 16 in a classic message: one of RFC 3489, whose first four
    are not the magic cookie.  ``attributes`` are in the order of the wire, without those that stand
    after the integrity attributes and must be ignored (RFC 8489 §14.5).
    """

    method: int
    message_class: MessageClass
    transaction_id: bytes
    attributes: tuple[Attribute, ...] = ()
    _wire: _Wire | None = field(default=None, repr=False, compare=False)

    @classmethod
    def request(cls, method: int, transaction_id: bytes, *attributes: Attribute) -> Self:
        """A request."""
        return cls(method, MessageClass.REQUEST, transaction_id, attributes)

    @classmethod
    def indication(cls, method: int, transaction_id: bytes, *attributes: Attribute) -> Self:
        """An indication, which nobody answers."""
        return cls(method, MessageClass.INDICATION, transaction_id, attributes)

    def success(self, *attributes: Attribute) -> "Message":
        """The success response to this request."""
        return Message(self.method, MessageClass.SUCCESS_RESPONSE, self.transaction_id, attributes)

    def error(self, error: ErrorCode | int, *attributes: Attribute) -> "Message":
        """The error response to this request; a bare code gets its recommended reason phrase."""
        code = ErrorCode.of(error) if isinstance(error, int) else error
        return Message(
            self.method, MessageClass.ERROR_RESPONSE, self.transaction_id, (code, *attributes)
        )

    @property
    def is_classic(self) -> bool:
        """Whether this is a message of RFC 3489, without the magic cookie."""
        return len(self.transaction_id) == CLASSIC_TRANSACTION_ID_LENGTH

    def reading(self, change: Callable[[Attribute], Attribute]) -> "Message":
        """The same message as received, its attributes read otherwise; integrity stays provable.

        What ``change`` gives is of the attribute's own type.
        """
        attributes = tuple(map(change, self.attributes))
        wire = self._wire
        if wire is not None:
            wire = (*wire[:4], {kind: change(first) for kind, first in wire[4].items()})
        return replace(self, attributes=attributes, _wire=wire)

    def get(self, kind: type[A]) -> A | None:
        """The first attribute of a kind, or None; later ones do not count (RFC 8489 §14).

        ``kind`` is one of KNOWN_ATTRIBUTES, not what several of them share.
        """
        if self._wire is not None:
            found = self._wire[4].get(kind)
            return found if isinstance(found, kind) else None
        for attribute in self.attributes:
            if isinstance(attribute, kind):
                return attribute
        return None

    def get_all(self, kind: type[A]) -> tuple[A, ...]:
        """Every attribute of a kind, for those that may lawfully be repeated."""
        return tuple([each for each in self.attributes if isinstance(each, kind)])

    def unknown_required(self, understood: Container[int] | None = None) -> tuple[int, ...]:
        """The comprehension-required types that are not understood, for a 420 (RFC 8489 §6.3.1).

        ``understood``: the types that the caller can act on; without it, all that the codec reads.
        Each type is named once.
        """
        if understood is None:
            unknown = [each.type for each in self.attributes if isinstance(each, UnknownAttribute)]
        elif self._wire is not None:
            numbers = self._wire[3]
            if isinstance(understood, frozenset) and understood.issuperset(numbers):
                return ()
            unknown = [number for number in numbers if number not in understood]
        else:
            unknown = [each.type for each in self.attributes if each.type not in understood]
        if not unknown:
            return ()
        required = [number for number in unknown if number < FIRST_COMPREHENSION_OPTIONAL]
        return tuple(dict.fromkeys(required))

    @property
    def unrecognized(self) -> tuple[UnknownAttribute, ...]:
        """The attributes that the codec does not know, or whose value it could not read."""
        if self._wire is not None and UnknownAttribute not in self._wire[4]:
            return ()
        return tuple([each for each in self.attributes if isinstance(each, UnknownAttribute)])

    @classmethod
    def parse(
        cls, data: bytes, *, allow_classic: bool = False, keep_malformed: bool = False
    ) -> "Message":
        """Read one whole message.

        Raises MalformedMessage for anything that does not follow RFC 8489 §5 and §14: a wrong
        length, an attribute that runs over the end, a comprehension-required attribute with a
        malformed value, a FINGERPRINT that is not last or does not match.  A comprehension-optional
        attribute with a malformed value is kept as an UnknownAttribute, so that the message counts
        as if it were not understood, which §14 allows; with ``keep_malformed`` a required one is
        kept like that too, for servers that answer it with a 400 (RFC 8656 §7.2, §10.2).  Without
        ``allow_classic`` the magic cookie is required.
        """
        size = len(data)
        if size < HEADER_LENGTH or data[0] > 0x3F:
            raise MalformedMessage("no STUN header")
        if int.from_bytes(data[2:4], "big") != size - HEADER_LENGTH or size % 4:
            raise MalformedMessage(f"{size} bytes disagree with the length in the header")
        transaction_id = data[8:HEADER_LENGTH]
        if data[4:8] != MAGIC_COOKIE_BYTES:
            if not allow_classic:
                raise MalformedMessage("no magic cookie")
            transaction_id = data[4:HEADER_LENGTH]
        method, message_class = split_message_type(int.from_bytes(data[:2], "big"))
        attributes: list[Attribute] = []
        numbers: list[int] = []
        integrity_offset = sha256_offset = 0
        offset = HEADER_LENGTH
        while offset < size:
            number, length = _TYPE_AND_LENGTH.unpack_from(data, offset)
            start = offset + 4
            stop = start + length
            if stop > size:
                raise MalformedMessage(f"attribute 0x{number:04x} runs over the end of the message")
            if number == _FINGERPRINT:
                _check_fingerprint(data, offset)
            elif number == _MESSAGE_INTEGRITY_SHA256 and not sha256_offset:
                sha256_offset = offset
            elif integrity_offset or sha256_offset:
                # RFC 8489 §14.5: what follows the integrity attributes is ignored.
                offset = stop + (-stop & 3)
                continue
            elif number == _MESSAGE_INTEGRITY:
                integrity_offset = offset
            numbers.append(number)
            attributes.append(_decode(number, data[start:stop], transaction_id, keep_malformed))
            offset = stop + (-stop & 3)
        # From the last to the first, so that the first of a kind is what stays.
        first = {type(attribute): attribute for attribute in reversed(attributes)}
        wire = (data, integrity_offset, sha256_offset, numbers, first)
        return Message(method, message_class, transaction_id, tuple(attributes), wire)

    def encode(self, *, integrity: IntegrityKey | None = None, fingerprint: bool = False) -> bytes:
        """The message as bytes, then the integrity attributes and FINGERPRINT that are asked for.

        Raises MisuseError for a value that may not be sent or a message too long for its header.
        """
        transaction_id = self.transaction_id
        kind, identity = self._header()
        parts: list[bytes] = []
        for attribute in self.attributes:
            value = attribute.encode()
            if isinstance(attribute, XorAddressAttribute):
                value = obfuscate(value, transaction_id)
            length = len(value)
            if length > MAXIMUM_LENGTH:
                raise MisuseError(f"attribute 0x{attribute.type:04x} of {length} bytes")
            parts.append(_TYPE_AND_LENGTH.pack(attribute.type, length) + value)
            if length & 3:
                parts.append(_PADDING[length & 3])
        body = identity + b"".join(parts)
        if integrity is not None:
            body = _protect(kind, body, integrity)
        if fingerprint:
            text = kind + _length(len(body) + _FINGERPRINT_SIZE) + body
            crc = crc32(text) ^ FINGERPRINT_XOR
            return text + _FINGERPRINT_HEADER + crc.to_bytes(4, "big")
        return kind + _length(len(body)) + body

    def _header(self) -> tuple[bytes, bytes]:
        """What stands before the length in the header, and what stands after it."""
        kind = _kind(self.method, self.message_class)
        if len(self.transaction_id) == TRANSACTION_ID_LENGTH:
            return kind, MAGIC_COOKIE_BYTES + self.transaction_id
        if len(self.transaction_id) == CLASSIC_TRANSACTION_ID_LENGTH:
            return kind, self.transaction_id
        raise MisuseError(f"a transaction id of {len(self.transaction_id)} bytes")

    def sha1_text(self) -> bytes | None:
        """What MESSAGE-INTEGRITY of this parsed message covers, or None where there is none.

        It ends before the attribute, and the length in its header ends after (RFC 8489 §14.5).
        """
        return None if self._wire is None else _text_before(self._wire[0], self._wire[1])

    def sha256_text(self) -> bytes | None:
        """What MESSAGE-INTEGRITY-SHA256 of this parsed message covers, or None (RFC 8489 §14.6)."""
        return None if self._wire is None else _text_before(self._wire[0], self._wire[2])


@lru_cache(_KINDS_KEPT)
def _kind(method: int, message_class: MessageClass) -> bytes:
    if not 0 <= method <= METHOD_MAXIMUM:
        raise MisuseError(f"a message of method {method}")
    return message_type(method, message_class).to_bytes(2, "big")


def _text_before(data: bytes, offset: int) -> bytes | None:
    if not offset:
        return None
    mac_length = int.from_bytes(data[offset + 2 : offset + 4], "big")
    length = offset + 4 + mac_length - HEADER_LENGTH
    return data[:2] + length.to_bytes(2, "big") + data[4:offset]


def _length(counted: int) -> bytes:
    """The length field of a message with so many bytes after it."""
    length = counted - (HEADER_LENGTH - 4)
    if length > MAXIMUM_LENGTH:
        raise MisuseError(f"a message of {length} bytes")
    return length.to_bytes(2, "big")


def _protect(kind: bytes, body: bytes, integrity: IntegrityKey) -> bytes:
    """Append the integrity attributes, each over all that stands before it."""
    if integrity.integrity is not Integrity.SHA256:
        text = kind + _length(len(body) + 4 + MESSAGE_INTEGRITY_LENGTH) + body
        body += _INTEGRITY_HEADER + hmac_sha1(integrity.key, text)
    if integrity.integrity is not Integrity.SHA1:
        text = kind + _length(len(body) + 4 + SHA256_LENGTH) + body
        body += _SHA256_HEADER + hmac_sha256(integrity.key, text)
    return body


def _decode(
    number: int,
    value: bytes,
    transaction_id: bytes,
    keep_malformed: bool,  # noqa: FBT001 - by place, for each attribute of each message comes here
) -> Attribute:
    decoder = _DECODERS.get(number)
    if decoder is None:
        return UnknownAttribute(number, value)
    try:
        plain = obfuscate(value, transaction_id) if number in _OBFUSCATED else value
        if number in _RECURRING and len(plain) <= _LONGEST_KEPT:
            return _decode_recurring(number, plain)
        return decoder(plain)
    except MalformedMessage:
        required = number < FIRST_COMPREHENSION_OPTIONAL and not keep_malformed
        if required or number == _FINGERPRINT:
            raise
        return UnknownAttribute(number, value)


@lru_cache(_DECODED_KEPT)
def _decode_recurring(number: int, value: bytes) -> KnownAttribute:
    return _DECODERS[number](value)


def _check_fingerprint(data: bytes, offset: int) -> None:
    # RFC 8489 §14.7: the last attribute, over all that stands before it.
    if offset + _FINGERPRINT_SIZE != len(data) or data[offset + 2 : offset + 4] != b"\0\4":
        raise MalformedMessage("FINGERPRINT is not the last attribute")
    crc = crc32(data[:offset]) ^ FINGERPRINT_XOR
    if crc != int.from_bytes(data[offset + 4 :], "big"):
        raise MalformedMessage("FINGERPRINT does not match")
