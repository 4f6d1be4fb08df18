"""What a gatherer tells its shell: candidates and failures as they come, and what it asks for."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from natkit.address import Address
from natkit.errors import NatkitError
from natkit.ice.candidate import LocalCandidate
from natkit.locate import Target
from natkit.machine import ClosePath, CloseSocket, OpenSocket, Path, Request, Transport
from natkit.portmap.upnp.igd import Exchange, HttpResponse

__all__ = [
    "BaseLost",
    "CandidateRedundant",
    "ConnectServer",
    "GatherClosed",
    "GatherEvent",
    "GatherResult",
    "Gathered",
    "GatheringEnded",
    "ListenForPeers",
    "Locate",
    "Method",
    "RelayedDataReceived",
    "ServerFailed",
    "Slot",
    "Source",
    "StopListening",
]


class Slot(NamedTuple):
    """One component of one stream: each has sockets of its own."""

    stream: int
    component: int


class Method(StrEnum):
    """How candidates are come by."""

    INTERFACE = "interface"
    STUN = "stun"
    TURN = "turn"
    PORT_MAPPING = "port mapping"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a candidate comes from, or where none came from.

    ``name`` is the interface, the URI of the server as its user wrote it, or the gateway's
    protocol; ``server`` its address if one is known, and ``transport`` how that was asked.
    """

    method: Method
    name: str
    server: Address | None = None
    transport: Transport | None = None

    def __str__(self) -> str:
        if self.server is None or self.server.host in self.name:
            return self.name
        return f"{self.name} ({self.server.host})"


@dataclass(frozen=True, slots=True)
class Gathered:
    """A candidate of ``stream``, ``elapsed`` seconds after gathering began."""

    stream: int
    candidate: LocalCandidate
    source: Source
    elapsed: float


@dataclass(frozen=True, slots=True)
class CandidateRedundant:
    """What a server told is known already: without a NAT, a host's own address, say."""

    stream: int
    candidate: LocalCandidate
    source: Source
    elapsed: float


@dataclass(frozen=True, slots=True)
class ServerFailed:
    """No candidate from there; ``error`` tells why, by the server's word or from here."""

    slot: Slot | None
    source: Source
    error: NatkitError
    elapsed: float


@dataclass(frozen=True, slots=True)
class GatheringEnded:
    """There will be no more candidates (RFC 8838 §13); ``elapsed`` is seconds."""

    elapsed: float


@dataclass(frozen=True, slots=True)
class RelayedDataReceived:
    """A datagram came to a relayed address of ours: ``path.local`` is that, and names the base."""

    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class BaseLost:
    """Nothing can be sent from ``base`` any more: the server dropped the allocation."""

    slot: Slot
    base: Address
    error: NatkitError


@dataclass(frozen=True, slots=True)
class GatherClosed:
    """All that was asked of servers and gateways has been given back, as far as they answer."""


@dataclass(frozen=True, slots=True)
class Locate(Request):
    """Find the servers of a STUN or TURN URI.

    Result: a tuple of Targets in the order to try them, or Failure.
    """

    uri: str


@dataclass(frozen=True, slots=True)
class ConnectServer(Request):
    """Open a stream, or a DTLS association, to a TURN server, through a proxy if one is set.

    Its certificate must name ``target.tls_name``.  Result: the Path, or Failure.
    """

    local: Address | None
    target: Target


@dataclass(frozen=True, slots=True)
class ListenForPeers(Request):
    """Accept TCP connections at ``local``, port 0 for any.  Result: the Address, or Failure.

    A connection is told as a stream whose path has that local address.
    """

    local: Address


@dataclass(frozen=True, slots=True)
class StopListening:
    """Accept no more at ``local``; connections that are there stay."""

    local: Address


GatherEvent = (
    Gathered
    | CandidateRedundant
    | ServerFailed
    | GatheringEnded
    | RelayedDataReceived
    | BaseLost
    | GatherClosed
    | Locate
    | ConnectServer
    | ListenForPeers
    | StopListening
    | Exchange
    | OpenSocket
    | CloseSocket
    | ClosePath
)
"""All that a gatherer emits; the Requests among them are answered by the shell."""

GatherResult = Address | Path | tuple[Target, ...] | HttpResponse
"""What answers them: of a socket, a connection, a Locate, an Exchange."""
