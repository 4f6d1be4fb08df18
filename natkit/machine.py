"""The contract between protocol machines and the shells that run them.

A machine does no I/O, reads no clock and draws no randomness.  Its shell gives it what happened
(bytes, the outcome of a request, the passing of time), then takes what is to be done.  The shell's
duty, after every single input: send all of :meth:`Machine.transmits`, handle every
:meth:`Machine.next_event`, then arm one timer for :meth:`Machine.next_deadline`.

``now`` is monotonic seconds and never goes back.  A machine that needs calendar time gets the
offset from ``now`` to Unix time at construction, and randomness as a ``Callable[[int], bytes]``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from natkit.address import Address

RandomBytes = Callable[[int], bytes]
"""Draws that many unpredictable bytes; ``os.urandom`` in the shells, a seeded source in tests."""

RequestId = int


class Transport(StrEnum):
    """How a message travels, by the names that the URIs use.

    ``is_reliable``: the transport itself retransmits and keeps order.  ``is_secure``: it encrypts
    and authenticates.
    """

    is_reliable: bool
    is_secure: bool

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"
    DTLS = "dtls"
    SCTP = "sctp"
    TLS_SCTP = "tls-sctp"
    WS = "ws"
    WSS = "wss"

    def __init__(self, name: str) -> None:
        # Attributes, not properties: machines ask for each message.
        self.is_reliable = name not in ("udp", "dtls")
        self.is_secure = name in ("tls", "dtls", "tls-sctp", "wss")


class Path(NamedTuple):
    """Where a message came from or goes to: the 5-tuple as seen from here.

    A tuple, because machines look things up by it several times for each message.
    """

    transport: Transport
    local: Address
    remote: Address


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send ``data`` from ``path.local`` to ``path.remote``: one datagram, or one framed message."""

    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class Request:
    """Something only the shell can do; it replies by ``answer(request_id, result, now)``.

    Requests travel among the events.  Each kind documents its result.  A shell that cannot do it
    answers with :class:`Failure`; a machine bounds how many it has waiting and for how long.
    """

    request_id: RequestId


@dataclass(frozen=True, slots=True)
class Failure:
    """The shell could not fulfil a request; ``reason`` is a line for a person.

    ``tls_failed``: the peer was reached, but not in TLS or DTLS that may be trusted.
    """

    reason: str
    address_in_use: bool = False
    tls_failed: bool = False


@dataclass(frozen=True, slots=True)
class OpenSocket(Request):
    """Bind a datagram socket to ``local`` (port 0: any).  Result: the bound Address, or Failure."""

    local: Address


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the datagram socket that was bound to ``local``; no answer."""

    local: Address


@dataclass(frozen=True, slots=True)
class Connect(Request):
    """Open a stream to ``remote``, from ``local`` or any.  Result: its Path, or Failure."""

    transport: Transport
    local: Address | None
    remote: Address


@dataclass(frozen=True, slots=True)
class ClosePath:
    """Close the stream of ``path`` after what was transmitted on it; no answer."""

    path: Path


Event = TypeVar("Event", covariant=True)
Result = TypeVar("Result", contravariant=True)


class Machine(Protocol[Event, Result]):
    """What every protocol machine offers its shell.

    ``Event`` is the union of the facts and Requests that it may emit, ``Result`` that of the
    answers to its Requests.  None of the methods raises because of a peer's bytes.
    """

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram, or one whole message of a stream, arrived on ``path``."""
        ...

    def disconnected(self, path: Path, now: float) -> None:
        """The stream of ``path`` ended, whoever closed it.  Never called for datagrams."""
        ...

    def answer(self, request_id: RequestId, result: Result | Failure, now: float) -> None:
        """The outcome of a Request; one that is no longer wanted is dropped by the machine."""
        ...

    def handle_timer(self, now: float) -> None:
        """Time has passed; being called early or late is harmless."""
        ...

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds, or None for not at all."""
        ...

    def transmits(self) -> Sequence[Transmit]:
        """Take everything that is to be sent, in order; a second call gives nothing."""
        ...

    def next_event(self) -> Event | None:
        """Take the next event, or None when there is no more."""
        ...


class StreamFraming(Protocol):
    """Cuts the bytes of one connection into the messages that a machine receives."""

    def receive(self, data: bytes) -> Sequence[bytes]:
        """Add bytes, take the messages that are complete now.

        Raises MalformedMessage when the stream can no longer be framed; the shell then closes it.
        """
        ...


@runtime_checkable
class UnfinishedFraming(StreamFraming, Protocol):
    """A framing that can tell whether its stream stopped amid a message."""

    @property
    def is_unfinished(self) -> bool:
        """Whether a message began that has not ended."""
        ...


@runtime_checkable
class SharedFraming(StreamFraming, Protocol):
    """A framing whose messages somebody else may take before they are cut.

    ``taker`` is offered the stream from a message's beginning on, and says how many bytes it has
    dealt with: whole messages, or none.
    """

    taker: Callable[[bytes], int] | None


@runtime_checkable
class HoldingFraming(StreamFraming, Protocol):
    """A framing of a protocol in which a message may turn its connection over to something else.

    After such a message ``is_held`` is set, and nothing more is cut until :meth:`resume`.
    """

    is_held: bool

    def resume(self) -> Sequence[bytes]:
        """What follows is messages after all: those that are complete.  Raises as ``receive``."""
        ...

    def take_rest(self) -> bytes:
        """Take what follows, which is no message's."""
        ...
