"""What an operator can ask of a running server, whichever way: a socket, HTTP, or a supervisor.

A single process and the supervisor of several workers both implement :class:`Administration`.  What
they answer are frozen dataclasses of plain values, which turn into JSON and back: the commands and
the pages print them, and they cross the socket between a worker and its supervisor.  The numbers
are those of the moment, also of sessions that go on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import TypeAdapter

from natkit.machine import Transport
from natkit.server.reports import (
    CertificateStatus,
    Descriptors,
    Drain,
    ListenerStatus,
    Phase,
    Steered,
    StoreStatus,
)

__all__ = [
    "SESSIONS",
    "STATUS",
    "Administration",
    "AllocationCount",
    "CertificateStatus",
    "Descriptors",
    "ListenerStatus",
    "Phase",
    "Session",
    "Status",
    "StoreStatus",
    "Traffic",
    "WorkerStatus",
    "session_id",
    "session_place",
]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was relayed; bytes are those of the application's data alone."""

    packets_to_peers: int = 0
    bytes_to_peers: int = 0
    packets_to_clients: int = 0
    bytes_to_clients: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.packets_to_peers + other.packets_to_peers,
            self.bytes_to_peers + other.bytes_to_peers,
            self.packets_to_clients + other.packets_to_clients,
            self.bytes_to_clients + other.bytes_to_clients,
        )


@dataclass(frozen=True, slots=True)
class AllocationCount:
    """How many live allocations have clients on ``transport`` and addresses of ``family``: 4, 6.

    One with relayed addresses of both families counts as 4 and as 6.
    """

    transport: Transport
    family: int
    count: int


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One serving process.

    ``started`` is in Unix seconds, ``restarts`` how often its predecessors died.
    """

    number: int
    process_id: int
    started: float
    sessions: int
    descriptors: Descriptors
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """How the server fares.

    ``started`` is in Unix seconds.  ``sessions`` counts live allocations, one with two relayed
    addresses once.  ``bindings`` counts answered Binding requests.  ``refusals`` counts refused
    requests by STUN's error code, ``peers_refused`` those that the peer policy refused.
    ``dropped`` counts packets that were not relayed, by the reason, and ``counts`` whatever else
    happened, by name.
    """

    version: str
    started: float
    phase: Phase
    plane: str
    plane_reason: str
    event_loop: str
    realms: tuple[str, ...]
    listeners: tuple[ListenerStatus, ...]
    workers: tuple[WorkerStatus, ...]
    sessions: int
    allocations: tuple[AllocationCount, ...]
    relayed: Traffic
    bindings: int
    refusals: Mapping[int, int]
    peers_refused: int
    dropped: Mapping[str, int]
    counts: Mapping[str, int]
    connections: int
    store: StoreStatus
    certificates: tuple[CertificateStatus, ...] = ()
    drain: Drain | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a load balancer may send new clients here."""
        return self.phase is Phase.SERVING and bool(self.listeners)


@dataclass(frozen=True, slots=True)
class Session:
    """One allocation.

    ``id`` is what the log calls it and :meth:`Administration.disconnect` takes.  ``user`` is whose
    quota counts: of a time-limited credential the part after the colon.  Addresses are
    ``ADDRESS:PORT``, ``since`` and ``expires`` Unix seconds, ``permissions`` and ``channels`` how
    many live.
    """

    id: str
    user: str
    realm: str
    client: str
    transport: Transport
    relayed: tuple[str, ...]
    since: float
    expires: float
    permissions: int
    channels: int
    traffic: Traffic


class Administration(Steered, Protocol):
    """A running server, to look at and to steer."""

    async def status(self) -> Status:
        """How the server fares now."""
        ...

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        """The live allocations, the oldest first, ``limit`` at most."""
        ...

    async def disconnect(self, session: str) -> bool:
        """End an allocation by its id; False when there is none of that id."""
        ...


# How these turn into JSON and back: ``dump_json``, ``dump_python(mode="json")``, ``validate_json``.
STATUS = TypeAdapter(Status)
SESSIONS = TypeAdapter(tuple[Session, ...])


def session_id(worker: int, allocation_id: int) -> str:
    """What an allocation of a worker is called in the log and by an operator."""
    return f"{worker}-{allocation_id}"


def session_place(session: str) -> tuple[int, int] | None:
    """The worker and its number of the allocation; None for a text that is no session's id."""
    worker, dash, number = session.partition("-")
    if not (dash and worker.isdecimal() and number.isdecimal() and session.isascii()):
        return None
    return int(worker), int(number)
