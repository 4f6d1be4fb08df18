"""Connections by where they lead, so that one is used again (RFC 3261 §18.1.1, RFC 5923 §5)."""

from natkit.address import Address
from natkit.locate import Target
from natkit.machine import Path, Transport

__all__ = ["Flows"]

Destination = tuple[Transport, Address, str]


class Flows:
    """The open connections; those that we made can be found by their target."""

    def __init__(self) -> None:
        self._open: set[Path] = set()
        self._made: dict[Destination, Path] = {}
        self._leads_to: dict[Path, Destination] = {}

    def __contains__(self, path: Path) -> bool:
        return path in self._open

    def __len__(self) -> int:
        return len(self._open)

    def accepted(self, path: Path) -> None:
        """A connection came, or something came on it."""
        self._open.add(path)

    def made(self, target: Target, path: Path) -> None:
        """We made one to ``target``, whose certificate has its name."""
        self._open.add(path)
        destination = (target.transport, target.address, target.tls_name)
        self._made[destination] = path
        self._leads_to[path] = destination

    def find(self, target: Target) -> Path | None:
        """A connection that leads to ``target`` already."""
        return self._made.get((target.transport, target.address, target.tls_name))

    def ended(self, path: Path) -> None:
        """A connection ended."""
        self._open.discard(path)
        destination = self._leads_to.pop(path, None)
        if destination is not None and self._made.get(destination) == path:
            del self._made[destination]
