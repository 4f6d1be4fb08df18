"""The mappings that a program holds, in a file, so that its next life can remove what is left."""

import json
import os
from pathlib import Path
from typing import Final

from natkit.errors import ConfigError, MisuseError
from natkit.portmap import Left, Mapping, Method, Protocol, Wish

__all__ = ["Leases"]

_SCHEMA: Final = 1
MOST_LEASES: Final = 1000


class Leases:
    """The file; readable by its owner alone, for it holds the nonces that mappings end by.

    A file that cannot be read for what it is counts as empty: it is a convenience.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._held: dict[tuple[str, str, str, int], dict[str, str | int]] = {}
        for entry in _read(file):
            self._held[_key(entry)] = entry

    def left(self, gateway: str) -> list[Left]:
        """What was mapped at this gateway and not removed."""
        return [_left(each) for each in self._held.values() if each["gateway"] == gateway]

    def add(self, gateway: str, mapping: Mapping) -> None:
        """A mapping is held; ConfigError when the file cannot be written."""
        entry: dict[str, str | int] = {
            "gateway": gateway,
            "method": mapping.method.value,
            "protocol": mapping.wish.protocol.name,
            "internal_port": mapping.wish.internal_port,
            "external_port": mapping.external.port,
            "nonce": mapping.nonce.hex(),
            "pinhole": mapping.pinhole or "",
        }
        if self._held.get(_key(entry)) != entry and len(self._held) < MOST_LEASES:
            self._held[_key(entry)] = entry
            self._write()

    def discard(self, gateway: str, left: Left | Mapping) -> None:
        """A mapping is gone."""
        place = (gateway, left.method.value, left.wish.protocol.name, left.wish.internal_port)
        if self._held.pop(place, None) is not None:
            self._write()

    def _write(self) -> None:
        text = json.dumps({"schema": _SCHEMA, "mappings": list(self._held.values())}, indent=1)
        new = self._file.with_name(self._file.name + ".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as out:
                out.write(text)
            new.replace(self._file)
        except OSError as error:
            raise ConfigError(f"cannot keep mappings in {self._file}: {error.strerror}") from error


def _key(entry: dict[str, str | int]) -> tuple[str, str, str, int]:
    return (
        str(entry["gateway"]),
        str(entry["method"]),
        str(entry["protocol"]),
        int(entry["internal_port"]),
    )


def _left(entry: dict[str, str | int]) -> Left:
    wish = Wish(Protocol[str(entry["protocol"])], int(entry["internal_port"]))
    return Left(
        Method(str(entry["method"])),
        wish,
        int(entry["external_port"]),
        bytes.fromhex(str(entry["nonce"])),
        str(entry["pinhole"]) or None,
    )


def _read(file: Path) -> list[dict[str, str | int]]:
    try:
        content = json.loads(file.read_text())
        entries: list[dict[str, str | int]] = content["mappings"][:MOST_LEASES]
        for entry in entries:
            _key(entry)
            _left(entry)
    except (OSError, ValueError, LookupError, TypeError, MisuseError):
        return []
    return entries
