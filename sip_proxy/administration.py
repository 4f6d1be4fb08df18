"""What an operator can ask of a running proxy, whichever way: a socket or HTTP.

The answers are frozen dataclasses of plain values, which turn into JSON and back.  The numbers are
those of the moment; times are Unix seconds.
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
    "REGISTRATIONS",
    "STATUS",
    "Administration",
    "AnswerCount",
    "ConnectionCount",
    "Contact",
    "GatewayStatus",
    "Registration",
    "Status",
]


@dataclass(frozen=True, slots=True)
class AnswerCount:
    """How many requests of a method got that final status, whoever chose it."""

    method: str
    status: int
    count: int


@dataclass(frozen=True, slots=True)
class ConnectionCount:
    """How many connections are open over ``transport``: that came, and that were made."""

    transport: Transport
    accepted: int
    made: int


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """A gateway: whether it gets calls, how many it carries, failures in a row."""

    name: str
    group: str
    uri: str
    is_up: bool
    calls: int
    failures: int


@dataclass(frozen=True, slots=True)
class Status:
    """How the proxy fares.

    ``transactions`` are those alive, ``forks`` requests that were sent on and are not answered yet,
    ``waiting`` those that wait for a lookup or a connection.  ``registered`` counts addresses of
    record with bindings, ``calls`` those that ring or go on.  ``dropped`` counts packets that
    got no answer, ``counts`` whatever else happened, by name.
    """

    version: str
    started: float
    phase: Phase
    event_loop: str
    process_id: int
    descriptors: Descriptors
    domains: tuple[str, ...]
    listeners: tuple[ListenerStatus, ...]
    registered: int
    calls: int
    transactions: int
    forks: int
    waiting: int
    answers: tuple[AnswerCount, ...]
    connections: tuple[ConnectionCount, ...]
    gateways: tuple[GatewayStatus, ...]
    users: StoreStatus
    location: StoreStatus
    dropped: int
    counts: Mapping[str, int]
    certificates: tuple[CertificateStatus, ...] = ()
    drain: Drain | None = None

    @property
    def is_ready(self) -> bool:
        """Whether a load balancer may send new calls here."""
        return self.phase is Phase.SERVING and bool(self.listeners)


@dataclass(frozen=True, slots=True)
class Contact:
    """One way to a user: a phone, or one of its flows.

    ``q`` is between 0 and 1; ``flow`` is what it is reached by, as ``TRANSPORT ADDRESS:PORT``,
    where that is known.
    """

    uri: str
    expires: float
    q: float
    since: float
    user_agent: str
    flow: str | None
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Registration:
    """An address of record, and where it is reached."""

    address_of_record: str
    contacts: tuple[Contact, ...]


class Administration(Steered, Protocol):
    """A running proxy, to look at and to steer."""

    async def status(self) -> Status:
        """How the proxy fares now."""
        ...

    async def registrations(self, limit: int, user: str | None = None) -> tuple[Registration, ...]:
        """Who is registered, ``limit`` at most, in no order; of one user where it is named.

        A user is an address of record, or its part before the domain.  Raises StoreFailure.
        """
        ...

    async def unregister(self, address_of_record: str) -> bool:
        """Forget an address of record's bindings; False where it has none.  Raises StoreFailure."""
        ...


# How these turn into JSON and back: ``dump_json``, ``dump_python(mode="json")``, ``validate_json``.
STATUS = TypeAdapter(Status)
REGISTRATIONS = TypeAdapter(tuple[Registration, ...])
