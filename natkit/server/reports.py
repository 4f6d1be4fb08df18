"""What an operator is told of a server and may do to it, of any of them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pydantic import TypeAdapter

from natkit.machine import Transport

__all__ = [
    "DRAIN",
    "RELOAD",
    "CertificateStatus",
    "Descriptors",
    "Drain",
    "ListenerStatus",
    "Phase",
    "Reload",
    "Steered",
    "StoreStatus",
]


class Phase(StrEnum):
    """Whether new clients are served."""

    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """Where clients come in; ``address`` is ``ADDRESS:PORT``."""

    transport: Transport
    address: str


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The store of users: its name, without what is secret, and why it is down, if it is."""

    name: str
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """Whom a certificate names, and the Unix time when it expires."""

    names: tuple[str, ...]
    expires: float


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many open files a process has and may have."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Drain:
    """A drain under way: Unix times of its beginning, and of its end at the latest."""

    since: float
    until: float
    sessions: int
    """How many are left."""


@dataclass(frozen=True, slots=True)
class Reload:
    """What became of a reload.

    ``error`` says why nothing was changed, None that the configuration counts.  ``changed`` are the
    options with another value than before, as ``table.option``, ``needs_restart`` those of them
    that count only after a restart.
    """

    error: str | None = None
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = field(default=())


class Steered(Protocol):
    """A running server, as far as it is steered like any other."""

    async def drain(self, limit: float | None = None) -> Drain:
        """Let nothing new begin, and end once nothing is left.

        That is after ``limit`` seconds at the latest; None stands for what the configuration says.
        """
        ...

    async def reload(self) -> Reload:
        """Read the configuration again, and apply all of it or nothing."""
        ...


# How these turn into JSON and back.
DRAIN = TypeAdapter(Drain)
RELOAD = TypeAdapter(Reload)
