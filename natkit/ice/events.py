"""What an agent tells its shell: facts about streams, and what only the shell can do."""

from dataclasses import dataclass
from enum import StrEnum

from natkit.address import Address
from natkit.ice.candidate import Candidate, NamedAddress
from natkit.ice.explanation import Explanation
from natkit.machine import ClosePath, Connect, Path, Request

StreamId = int
"""Streams are numbered from 0 in the order in which they were added."""


class IceState(StrEnum):
    """How far an agent is, over all its streams; the words are those of WebRTC."""

    NEW = "new"
    """Not checking yet: the peer's parameters or every candidate of one side are missing."""
    CHECKING = "checking"
    CONNECTED = "connected"
    """Each component has a valid pair, and data flows; better pairs may still be tried."""
    COMPLETED = "completed"
    """Each component has its selected pair."""
    DISCONNECTED = "disconnected"
    """A component lost its pair; a restart, or a renomination, may bring another one."""
    FAILED = "failed"
    """A component has no pair and will get none: see :class:`Failed`."""
    CLOSED = "closed"


class RestartReason(StrEnum):
    """Why an agent asks for an ICE restart (RFC 8445 §2.4)."""

    CONSENT_LOST = "no answer to the consent checks"
    PATH_CLOSED = "the connection of the selected pair ended"
    BASE_REMOVED = "the socket of the selected pair is gone"


@dataclass(frozen=True, slots=True)
class SelectedPair:
    """The pair that a component's data takes.

    ``path`` is what datagrams are sent by.  ``local`` is the candidate at which the peer sees them,
    which may be peer-reflexive.
    """

    local: Candidate
    remote: Candidate
    path: Path
    round_trip: float | None


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The agent's state is another one now."""

    state: IceState


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """A role conflict was resolved against us, or the peer is lite (RFC 8445 §6.1.1)."""

    controlling: bool


@dataclass(frozen=True, slots=True)
class PairValid:
    """Data of the component may flow, before a pair is selected (RFC 8445 §12)."""

    stream: StreamId
    component: int
    pair: SelectedPair


@dataclass(frozen=True, slots=True)
class PairSelected:
    """The component's data takes this pair from now on; told again when it becomes another."""

    stream: StreamId
    component: int
    pair: SelectedPair


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Data came over a pair that the peer proved to own."""

    stream: StreamId
    component: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CandidateDiscovered:
    """A check revealed a peer-reflexive candidate, of this side or of the peer."""

    stream: StreamId
    candidate: Candidate
    is_local: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream got no pair for some component; ``explanation`` has every pair and its reason."""

    stream: StreamId
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class ConsentLost:
    """The peer has not answered for the time of RFC 7675 §5.1; nothing is sent to it any more."""

    stream: StreamId
    component: int


@dataclass(frozen=True, slots=True)
class RestartNeeded:
    """The component has no path left; only ``restart`` and new descriptions bring one."""

    stream: StreamId
    component: int
    reason: RestartReason


@dataclass(frozen=True, slots=True)
class Restarted:
    """New local parameters hold, and every local candidate is to be described again.

    By ``restart``, or because the peer's new parameters said that it restarts (RFC 8445 §9).  Told
    with an unchanged ``generation`` where both restarted at once: the parameters still hold, and
    the peer may not have them.
    """

    generation: int
    by_peer: bool


@dataclass(frozen=True, slots=True)
class BaseReleased:
    """No pair needs the socket of ``base`` any more; the shell may close it (RFC 8445 §8.3)."""

    stream: StreamId
    base: Address


@dataclass(frozen=True, slots=True)
class ResolveName(Request):
    """Ask multicast DNS for a remote candidate's name.

    Result: a tuple of host texts, all that were found; or Failure.
    """

    name: NamedAddress


IceEvent = (
    StateChanged
    | RoleChanged
    | PairValid
    | PairSelected
    | DataReceived
    | CandidateDiscovered
    | Failed
    | ConsentLost
    | RestartNeeded
    | Restarted
    | BaseReleased
    | ResolveName
    | Connect
    | ClosePath
)

IceResult = Path | tuple[str, ...]
"""The Path of a Connect, the host texts of a ResolveName."""
