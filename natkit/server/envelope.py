"""What crosses between the processes of one server: envelopes, and how their contents are written.

An envelope is one packet.  Its header says what kind it is, from which process and to which, and
the type of its contents; these are a frozen dataclass of the program's own as JSON, which is
checked against its type when it is opened.  Versions never mix within one server, for a supervisor
starts its workers from its own installation; that they are the same is checked all the same.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import GenericAlias

from pydantic import ConfigDict, TypeAdapter, ValidationError

from natkit.errors import MalformedMessage, MisuseError

__all__ = ["LARGEST_CONTENTS", "SUPERVISOR", "VERSION", "Envelope", "Kind", "Vocabulary"]

VERSION = 1

SUPERVISOR = 0xFFFF
"""The number of the process that is no worker."""

LARGEST_CONTENTS = 64 << 20
"""Bytes; a configuration or a list of sessions may be long, but nothing is without end."""

_HEADER = struct.Struct("!BBHHHI")
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class Kind(IntEnum):
    """What an envelope is to its receiver."""

    NOTICE = 0
    REQUEST = 1
    REPLY = 2
    REFUSAL = 3
    """The answer to a request that could not be fulfilled; the contents are the reason's text."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One packet; ``number`` is the request's, which its answer repeats.

    ``descriptors`` travel with it, and belong to whoever has the envelope.
    """

    kind: Kind
    sender: int
    receiver: int
    type: int
    number: int
    contents: bytes
    descriptors: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """The packet without its descriptors."""
        head = (VERSION, self.kind, self.sender, self.receiver, self.type, self.number)
        return _HEADER.pack(*head) + self.contents

    @classmethod
    def parse(cls, packet: bytes, descriptors: tuple[int, ...] = ()) -> "Envelope":
        """Read a packet; MalformedMessage when it is none of this version."""
        if len(packet) < _HEADER.size:
            raise MalformedMessage(f"an envelope of {len(packet)} bytes has no header")
        version, kind, sender, receiver, type_, number = _HEADER.unpack_from(packet)
        if version != VERSION:
            raise MalformedMessage(f"an envelope of version {version}, not {VERSION}")
        try:
            known = Kind(kind)
        except ValueError:
            raise MalformedMessage(f"an envelope of kind {kind}") from None
        contents = packet[_HEADER.size :]
        return cls(known, sender, receiver, type_, number, contents, descriptors)


class Vocabulary:
    """The types of a program's messages, and the number of each on the wire.

    The fields are plain values, enumerations, tuples, mappings and dataclasses of these.
    """

    def __init__(self, types: Mapping[int, type[object]]) -> None:
        self._numbers = {each: number for number, each in types.items()}
        if len(self._numbers) != len(types):
            raise MisuseError("a type of message has two numbers")
        # As the member of a tuple, since a dataclass takes its settings from what surrounds it.
        self._adapters: dict[int, TypeAdapter[tuple[object]]] = {
            # The type is known at run time alone.
            number: TypeAdapter(GenericAlias(tuple, (each,)), config=_CONFIG)  # type: ignore[arg-type]
            for number, each in types.items()
        }

    def write(self, message: object) -> tuple[int, bytes]:
        """The type's number, and the contents; MisuseError for a type that is not known."""
        number = self._numbers.get(type(message))
        if number is None:
            raise MisuseError(f"a {type(message).__name__} crosses no process")
        contents = self._adapters[number].dump_json((message,))
        if len(contents) > LARGEST_CONTENTS:
            raise MisuseError(f"a {type(message).__name__} of {len(contents)} bytes is too long")
        return number, contents

    def read(self, number: int, contents: bytes) -> object:
        """The message; MalformedMessage when it is none."""
        adapter = self._adapters.get(number)
        if adapter is None:
            raise MalformedMessage(f"no message has the number {number}")
        try:
            return adapter.validate_json(contents)[0]
        except ValidationError as error:
            raise MalformedMessage(f"message {number}: {error.error_count()} mistakes") from None
