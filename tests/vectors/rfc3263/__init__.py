"""The vectors of this folder as data; README.md describes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["FOLDER", "FORMAT", "Server", "Vector", "domains", "vectors"]

FORMAT = 1
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Server:
    """A target that a vector wants."""

    transport: str
    address: str
    port: int
    host: str


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector; the fields are those of its JSON object."""

    id: str
    rfc: tuple[str, ...]
    requires: str
    uri: str
    transports: tuple[str, ...]
    zone: tuple[str, ...]
    needed: tuple[str, ...]
    rounds: tuple[tuple[str, ...], ...]
    targets: tuple[Server, ...]
    tls_name: str | None
    error: str | None
    families: tuple[str, ...]
    random: tuple[tuple[int, int], ...]
    unanswered: tuple[str, ...]
    failing: tuple[str, ...]

    def __str__(self) -> str:
        return self.id

    @classmethod
    def read(cls, fields: Mapping[str, object]) -> "Vector":
        """From a JSON object; KeyError, TypeError or ValueError when it is none."""
        unknown = fields.keys() - set(cls.__slots__)
        if unknown:
            raise ValueError(f"{fields['id']}: unknown fields {', '.join(sorted(unknown))}")
        return cls(
            id=_text(fields["id"]),
            rfc=_texts(fields["rfc"]),
            requires=_text(fields["requires"]),
            uri=_text(fields["uri"]),
            transports=_texts(fields["transports"]),
            zone=_texts(fields["zone"]),
            needed=_texts(fields["needed"]),
            rounds=tuple(_texts(one) for one in _list(fields["rounds"])),
            targets=tuple(_server(one) for one in _list(fields["targets"])),
            tls_name=_text(fields["tls_name"]) if "tls_name" in fields else None,
            error=_text(fields["error"]) if "error" in fields else None,
            families=_texts(fields.get("families", ["ipv4", "ipv6"])),
            random=tuple(_drawn(one) for one in _list(fields.get("random", []))),
            unanswered=_texts(fields.get("unanswered", [])),
            failing=_texts(fields.get("failing", [])),
        )


@cache
def vectors() -> tuple[Vector, ...]:
    """All of them, file by file."""
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"{file} has another format than {FORMAT}")
        found += [Vector.read(one) for one in content["vectors"]]
    return tuple(found)


def domains(vector: Vector) -> tuple[str, str]:
    """The two domains that hold all names of a vector."""
    return f"{vector.id}.example", f"{vector.id}-hosting.example"


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(one) for one in _list(value))


def _server(value: object) -> Server:
    fields = _object(value)
    transport, address = _text(fields["transport"]), _text(fields["address"])
    return Server(transport, address, _number(fields["port"]), _text(fields["host"]))


def _drawn(value: object) -> tuple[int, int]:
    fields = _object(value)
    return _number(fields["chosen"]), _number(fields["sum"])
