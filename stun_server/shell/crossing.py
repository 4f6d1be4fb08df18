"""The messages between the processes of one server."""

from collections.abc import Mapping
from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.server.envelope import Vocabulary
from natkit.server.reports import Drain, Reload
from stun_server.administration import Session, Status
from stun_server.handover import Snapshot
from stun_server.shell.shared_memory import Descriptors
from stun_server.shell.state import Keys

__all__ = [
    "VOCABULARY",
    "AllocationConcluded",
    "AskLeft",
    "AskSessions",
    "AskStatus",
    "AskTaken",
    "Began",
    "Begin",
    "BeginDrain",
    "Disconnect",
    "Disconnected",
    "GiveAllocation",
    "GiveConnection",
    "GiveReservation",
    "GivenConnection",
    "GivenReservation",
    "Inherited",
    "InheritedPlane",
    "Left",
    "NothingLeft",
    "PlaneRuns",
    "Renew",
    "ReturnConnection",
    "RevokeConnection",
    "Sessions",
    "Taken",
    "WorkerGone",
]


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listener of a worker, whose socket it has by its descriptor; as in Listener."""

    transport: Transport
    address: Address
    descriptor: int
    proxies: tuple[str, ...] | None
    other: Address | None


@dataclass(frozen=True, slots=True)
class InheritedPlane:
    """The relay plane that was chosen for all workers, and why; the kernel's has descriptors."""

    name: str
    reason: str
    tables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """To a new worker: serve.  The answer is :class:`Began`.

    ``configuration`` is what the file and the flags say together, as JSON.  ``announces``: this
    worker logs what all have alike.
    """

    worker: int
    workers: int
    configuration: str
    keys: Keys
    data_dir: str | None
    listeners: tuple[Inherited, ...]
    memory: Descriptors
    announces: bool
    plane: InheritedPlane


@dataclass(frozen=True, slots=True)
class Began:
    """A worker serves; ``introduction`` is what a server says of itself then."""

    introduction: Mapping[str, str | int]


# What an operator asks: the supervisor asks its workers, and puts their answers together.


@dataclass(frozen=True, slots=True)
class AskStatus:
    """The answer is a Status."""


@dataclass(frozen=True, slots=True)
class AskSessions:
    """The answer is :class:`Sessions`, ``limit`` at most."""

    limit: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Live allocations, the oldest first."""

    sessions: tuple[Session, ...]


@dataclass(frozen=True, slots=True)
class Disconnect:
    """End that session.  The answer is :class:`Disconnected`."""

    session: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Whether there was such a session."""

    was_there: bool


@dataclass(frozen=True, slots=True)
class BeginDrain:
    """Grant no more allocations.  The answer is a Drain."""

    limit: float | None


@dataclass(frozen=True, slots=True)
class AskLeft:
    """The answer is :class:`Left`; a worker that gives none for long is taken for dead."""


@dataclass(frozen=True, slots=True)
class Left:
    """Sessions of a worker, those among them that are on their way to it."""

    sessions: int


@dataclass(frozen=True, slots=True)
class NothingLeft:
    """To the supervisor: this worker drains, and has no session any more or no more time."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Apply this configuration, as in :class:`Begin`.  The answer is a Reload."""

    configuration: str


@dataclass(frozen=True, slots=True)
class PlaneRuns:
    """From the supervisor: where the kernel's relay plane runs from now on, in words."""

    reason: str


# What moves between workers.


@dataclass(frozen=True, slots=True)
class GiveReservation:
    """As TakeReservation.  The answer is :class:`GivenReservation`, with the socket."""

    token: bytes
    username: str
    realm: str
    may_count: bool


@dataclass(frozen=True, slots=True)
class GivenReservation:
    """The port that was reserved."""

    relayed: Address


@dataclass(frozen=True, slots=True)
class GiveAllocation:
    """As TakeAllocation.  The answer is a Snapshot, with a socket for each relayed address."""

    ticket: bytes
    username: str
    realm: str


@dataclass(frozen=True, slots=True)
class AllocationConcluded:
    """To the worker that gave an allocation: whether it is here now."""

    ticket: bytes
    taken: bool


@dataclass(frozen=True, slots=True)
class AskTaken:
    """From the worker that gave an allocation and heard nothing.  The answer is :class:`Taken`."""

    relayed: Address


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether it is here."""

    taken: bool


@dataclass(frozen=True, slots=True)
class GiveConnection:
    """As TakeConnection.  The answer is :class:`GivenConnection`, with the socket, unread."""

    connection_id: int
    username: str
    realm: str
    transport: Transport


@dataclass(frozen=True, slots=True)
class GivenConnection:
    """A peer data connection (RFC 6062)."""

    peer: Path


@dataclass(frozen=True, slots=True)
class RevokeConnection:
    """From its owner: the allocation of a connection that was given is over."""

    connection_id: int


@dataclass(frozen=True, slots=True)
class ReturnConnection:
    """To its owner: a connection that was given is over."""

    connection_id: int


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """From the supervisor: a worker died, with what it had been given."""

    worker: int


# The numbers are of no consequence beyond one server: all of its processes are of one installation.
VOCABULARY = Vocabulary(
    dict(
        enumerate(
            (
                Begin,
                Began,
                AskStatus,
                Status,
                AskSessions,
                Sessions,
                Disconnect,
                Disconnected,
                BeginDrain,
                Drain,
                Renew,
                Reload,
                GiveReservation,
                GivenReservation,
                GiveAllocation,
                Snapshot,
                GiveConnection,
                GivenConnection,
                RevokeConnection,
                ReturnConnection,
                WorkerGone,
                AskLeft,
                Left,
                NothingLeft,
                AllocationConcluded,
                AskTaken,
                Taken,
                PlaneRuns,
            )
        )
    )
)
