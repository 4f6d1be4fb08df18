"""What a test may do, and what comes of it: the words that scripts are written in."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.transaction import Timing

__all__ = [
    "Answer",
    "Ask",
    "Close",
    "Dial",
    "Heard",
    "NoSocket",
    "Open",
    "Outcome",
    "Pause",
    "Say",
    "Script",
    "Silence",
    "Step",
]

T = TypeVar("T")


# ── what a script may do ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Open:
    """A fresh socket on ``local``, port 0 for any.  Outcome: its Address, or NoSocket."""

    local: Address


@dataclass(frozen=True, slots=True)
class Dial:
    """A TCP connection from ``local``, port 0 for any.  Outcome: its local Address, or NoSocket.

    It lasts as long as the script.
    """

    local: Address
    server: Address


@dataclass(frozen=True, slots=True)
class Close:
    """Close a socket that the script opened; whatever is left open ends with the script."""

    local: Address


@dataclass(frozen=True, slots=True)
class Ask:
    """A Binding request from ``local`` to ``server``.  Outcome: Answer or Silence.

    ``change_ip``, ``change_port``: whence the answer is wanted; ``response_port``: where to, for an
    answer that any socket of the script may get; ``padding``: bytes of it that the answer is to
    have as well (RFC 5780 §7); ``length``: bytes of the request, a multiple of four, filled with
    what servers ignore.  With ``listen`` the request itself is waited for on that socket, and the
    outcome is the Address that it came from.  ``timing`` takes the place of the machine's own.
    Over TCP a connection that was dialled carries it.
    """

    local: Address
    server: Address
    change_ip: bool = False
    change_port: bool = False
    response_port: int | None = None
    listen: Address | None = None
    padding: int = 0
    timing: Timing | None = None
    length: int = 0
    transport: Transport = Transport.UDP


@dataclass(frozen=True, slots=True)
class Say:
    """Any datagram, said again until one with ``token`` in it comes back.  Outcome: Heard, Silence.

    ``token`` must be unguessable: it is all that tells the answer from others' datagrams.
    """

    local: Address
    remote: Address
    data: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for some seconds.  Outcome: Silence."""

    seconds: float


Step = Open | Dial | Close | Ask | Say | Pause


# ── what comes of it ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Answer:
    """A Binding response: what it says, whence it came, and after how many seconds.

    ``refused`` is the code of an error response, None for success; ``local`` the socket that it
    came to; ``plain`` the mapped address that was not obfuscated, where there is one beside.
    """

    mapped: Address | None
    source: Address
    round_trip: float
    origin: Address | None = None
    other: Address | None = None
    refused: int | None = None
    padding: int = 0
    local: Address | None = None
    plain: Address | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A datagram with the token in it."""

    data: bytes
    source: Address


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing came, though it was asked ``sent`` times."""

    sent: int = 0


@dataclass(frozen=True, slots=True)
class NoSocket:
    """The system gave none, or the server took no connection."""

    reason: str


Outcome = Address | Answer | Heard | Silence | NoSocket
Script = Generator[Step, Outcome, T]
