"""What the proxy machine asks its shell for, and what it tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from natkit.keepalive import SendPing
from natkit.locate import Target
from natkit.machine import ClosePath, Failure, Path, Request
from natkit.sip.digest import Algorithm
from natkit.sip.via import SentBy
from sip_proxy.calls.record import CallRecord
from sip_proxy.hooks import Decision, Point, Subject
from sip_proxy.location import Binding, Outcome, Registration

__all__ = [
    "Answered",
    "BindingsChanged",
    "CallEnded",
    "Dropped",
    "FindBindings",
    "FindCredential",
    "FindNumber",
    "FindSender",
    "FindServers",
    "GatewayChanged",
    "GuessesStopped",
    "HookFailed",
    "OpenFlow",
    "Overloaded",
    "ProxyEvent",
    "ProxyResult",
    "RunHook",
    "UpdateBindings",
]


@dataclass(frozen=True, slots=True)
class Overloaded(Failure):
    """Too much waits already: nothing is broken, and it may do in a while."""


@dataclass(frozen=True, slots=True)
class FindCredential(Request):
    """The keys of a user by algorithm (:func:`natkit.sip.digest.ha1`).

    Result: a mapping, empty where there is no such user, or Failure.
    """

    username: str
    realm: str


@dataclass(frozen=True, slots=True)
class FindBindings(Request):
    """The live bindings of an address of record.  Result: a tuple of them, or Failure."""

    address_of_record: str


@dataclass(frozen=True, slots=True)
class UpdateBindings(Request):
    """Apply a REGISTER, and keep the outcome.  Result: that Outcome, or Failure."""

    address_of_record: str
    registration: Registration


@dataclass(frozen=True, slots=True)
class FindServers(Request):
    """The servers of a URI by RFC 3263, in the order to try.  Result: Targets, or Failure."""

    uri: str


@dataclass(frozen=True, slots=True)
class FindSender(Request):
    """Where the sender of a request can be reached, by the sent-by of its Via (RFC 3263 §5).

    Result: Targets, in the order to try, or Failure.
    """

    sent_by: SentBy


@dataclass(frozen=True, slots=True)
class FindNumber(Request):
    """The SIP URIs of a global number by ENUM (RFC 6116), below ``suffixes`` in their order.

    Result: a tuple of texts in the order to try, or Failure.
    """

    number: str
    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunHook(Request):
    """Ask the hook of one point.  Result: its Decision, or Failure."""

    point: Point
    subject: Subject


@dataclass(frozen=True, slots=True)
class OpenFlow(Request):
    """A connection to ``target``, whose certificate names its ``tls_name``.  Result: its Path."""

    target: Target


@dataclass(frozen=True, slots=True)
class Answered:
    """A request got its final answer from us; ``by_us``: no other element chose the status.

    ``reason`` is the reason phrase, which says in our own answers what rule was at work.
    """

    path: Path
    method: str
    call_id: str
    status: int
    by_us: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BindingsChanged:
    """An address of record now has these bindings."""

    address_of_record: str
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something arrived that gets no answer; ``reason`` is for a person."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class GuessesStopped:
    """A source was wrong about passwords too often, and is not heard for ``wait`` seconds.

    ``username`` is the user of its last wrong answer, whom it may have been about alone.
    """

    path: Path
    username: str
    wait: float


@dataclass(frozen=True, slots=True)
class GatewayChanged:
    """A gateway went down, or came up again."""

    gateway: str
    is_up: bool


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is over."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class HookFailed:
    """A hook raised, took too long, or decided what makes no sense: its request got a 500."""

    call_id: str
    point: Point
    reason: str


ProxyEvent = (
    FindCredential
    | FindBindings
    | UpdateBindings
    | FindServers
    | FindSender
    | FindNumber
    | RunHook
    | OpenFlow
    | ClosePath
    | SendPing
    | Answered
    | BindingsChanged
    | GatewayChanged
    | CallEnded
    | HookFailed
    | Dropped
    | GuessesStopped
)

ProxyResult = (
    Mapping[Algorithm, str]
    | tuple[Binding, ...]
    | tuple[str, ...]
    | Decision
    | Outcome
    | Sequence[Target]
    | Path
)
