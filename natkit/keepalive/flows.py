"""The side that keeps flows open: it sends on each, and tells what came back.

One machine keeps any number of flows, each on a path that the application sends on too: what it
emits are whole messages, so a keep-alive never lies inside another message.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.keepalive.crlf import PING, PONG, PONG_TIMEOUT
from natkit.keepalive.interval import LONGEST_SPREAD, spread
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit, Transport
from natkit.stun.binding import mapped_address
from natkit.stun.message import Message
from natkit.stun.registry import (
    HEADER_LENGTH,
    MAGIC_COOKIE_BYTES,
    TRANSACTION_ID_LENGTH,
    MessageClass,
    Method,
    message_type,
)
from natkit.stun.transaction import DEFAULT_TIMING, ClientTransaction, Timing
from natkit.timers import TimerQueue

__all__ = [
    "AddressChanged",
    "Alive",
    "FlowFailed",
    "FlowKeeper",
    "KeepAliveEvent",
    "SendPing",
    "Technique",
]

_REQUEST: Final = (
    message_type(Method.BINDING, MessageClass.REQUEST).to_bytes(2, "big")
    + b"\0\0"
    + MAGIC_COOKIE_BYTES
)
_INDICATION: Final = (
    message_type(Method.BINDING, MessageClass.INDICATION).to_bytes(2, "big")
    + b"\0\0"
    + MAGIC_COOKIE_BYTES
)
_PING_PAYLOAD: Final = 4


class Technique(Enum):
    """How a flow is kept open."""

    STUN = "stun"
    """Binding requests between the datagrams (RFC 5626 §3.5.2)."""
    CRLF = "crlf"
    """A double CRLF between the messages of a stream, answered by one (RFC 5626 §3.5.1)."""
    WEBSOCKET = "websocket"
    """Ping frames (RFC 6455 §5.5.2, RFC 7118 §6)."""
    INDICATION = "indication"
    """Binding indications, which nobody answers: they open NATs and tell nothing (RFC 8445 §11)."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The other end answered ``round_trip`` seconds after the question.

    ``mapped`` is where it sees us, where the technique tells (STUN).
    """

    path: Path
    round_trip: float
    mapped: Address | None


@dataclass(frozen=True, slots=True)
class AddressChanged:
    """A NAT on the way gave the flow another address; :class:`Alive` follows.

    For a SIP user agent the flow has failed by that: it registers anew (RFC 5626 §4.4.2).
    """

    path: Path
    before: Address
    after: Address


@dataclass(frozen=True, slots=True)
class FlowFailed:
    """The flow is dead and no longer kept; ``reason`` is a line for a person."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SendPing:
    """Send a WebSocket ping with ``payload``; its pong is told by :meth:`FlowKeeper.pong`."""

    path: Path
    payload: bytes


KeepAliveEvent = Alive | AddressChanged | FlowFailed | SendPing


class _Flow:
    """One flow.  ``asked`` is what waits for an answer: an id or a payload, empty for CRLF."""

    __slots__ = ("asked", "asked_at", "bound", "mapped", "path", "technique", "transaction")

    def __init__(self, path: Path, technique: Technique, bound: float) -> None:
        self.path = path
        self.technique = technique
        self.bound = bound
        self.asked: bytes | None = None
        self.asked_at = 0.0
        self.transaction: ClientTransaction | None = None
        self.mapped: Address | None = None


class FlowKeeper:
    """Keeps flows open; a machine (see :mod:`natkit.machine`).

    Intervals are at random between 80 and 100 % of each flow's bound (RFC 5626 §4.4).  A flow that
    fails is told once and forgotten.  ``timing`` is that of the STUN transactions.
    """

    def __init__(self, *, random: RandomBytes, timing: Timing = DEFAULT_TIMING) -> None:
        self._random = random
        self._timing = timing
        self._flows: dict[Path, _Flow] = {}
        self._timers: TimerQueue[Path] = TimerQueue()
        self._transmits: list[Transmit] = []
        self._events: deque[KeepAliveEvent] = deque()

    def __len__(self) -> int:
        return len(self._flows)

    def __contains__(self, path: Path) -> bool:
        return path in self._flows

    # ── what the application wants ──────────────────────────────────────────────────────────────

    def keep(
        self, path: Path, technique: Technique, bound: float, now: float, *, at_once: bool = False
    ) -> None:
        """Keep ``path`` open from now on, by one message each ``bound`` seconds at least.

        ``at_once``: the first one now.  A flow that is kept already gets the new bound.
        MisuseError for a technique that the transport does not carry, or a bound out of reason.
        """
        if not 0 < bound <= LONGEST_SPREAD:
            raise MisuseError(f"{bound:g} s is no interval for keep-alives")
        if technique not in _CARRIED[path.transport]:
            raise MisuseError(f"{technique.value} keep-alives do not run over {path.transport}")
        flow = self._flows.get(path)
        if flow is None or flow.technique is not technique:
            flow = self._flows[path] = _Flow(path, technique, bound)
        flow.bound = bound
        if at_once and flow.asked is None:
            self._send(flow, now)
        elif flow.asked is None:
            self._pause(flow, now)

    def stop(self, path: Path) -> None:
        """Keep it no longer; one that is not kept is no error."""
        self._flows.pop(path, None)
        self._timers.cancel(path)

    def sent(self, path: Path, now: float) -> None:
        """The application itself sent on the flow, which keeps it open as well.

        Only where no answer is wanted: a question is asked all the same at its time.
        """
        flow = self._flows.get(path)
        if flow is not None and flow.technique is Technique.INDICATION:
            self._pause(flow, now)

    def takes(self, data: bytes, path: Path) -> bool:
        """Whether a message that arrived is an answer for :meth:`receive`, not the application's.

        A late answer to a question that was answered or given up is none any more: for datagrams
        ask :func:`~natkit.stun.demux.is_stun` too before they are taken for something else.
        """
        flow = self._flows.get(path)
        if flow is None:
            return False
        match flow.technique:
            case Technique.CRLF:
                return data == PONG
            case Technique.STUN:
                return flow.asked is not None and data[8:HEADER_LENGTH] == flow.asked
            case Technique.WEBSOCKET | Technique.INDICATION:
                return False
            case _:
                assert_never(flow.technique)

    # ── the contract of a machine ───────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A message arrived; what answers nothing is ignored."""
        flow = self._flows.get(path)
        if flow is None or flow.asked is None or not self.takes(data, path):
            return
        if flow.technique is Technique.CRLF:
            self._answered(flow, None, now)
            return
        try:
            response = Message.parse(data)
        except MalformedMessage:
            return
        self._receive_response(flow, response, now)

    def pong(self, path: Path, payload: bytes, now: float) -> None:
        """A WebSocket's pong arrived; those that nobody asked for are ignored."""
        flow = self._flows.get(path)
        if flow is not None and flow.technique is Technique.WEBSOCKET and flow.asked == payload:
            self._answered(flow, None, now)

    def disconnected(self, path: Path, now: float) -> None:  # noqa: ARG002 - the contract
        """The stream of a flow ended."""
        if path in self._flows:
            self._fail(self._flows[path], "the connection was closed")

    def answer(self, request_id: RequestId, result: object | Failure, now: float) -> None:
        """There are no requests to the shell."""

    def handle_timer(self, now: float) -> None:
        """Send what is due, and give up what was not answered."""
        for path in self._timers.pop_due(now):
            flow = self._flows[path]
            if flow.asked is None:
                self._send(flow, now)
            elif flow.transaction is None:
                self._fail(flow, f"no answer to a keep-alive in {now - flow.asked_at:.0f} s")
            elif flow.transaction.is_over(now):
                sent = flow.transaction.sent
                self._fail(flow, f"no answer to {sent} Binding requests")
            else:
                self._transmit_due(flow, flow.transaction, now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> KeepAliveEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── one flow ────────────────────────────────────────────────────────────────────────────────

    def _pause(self, flow: _Flow, now: float) -> None:
        flow.asked = None
        flow.transaction = None
        self._timers.set(flow.path, now + spread(flow.bound, self._random))

    def _send(self, flow: _Flow, now: float) -> None:
        flow.asked_at = now
        match flow.technique:
            case Technique.STUN:
                flow.asked = self._random(TRANSACTION_ID_LENGTH)
                flow.transaction = ClientTransaction(
                    _REQUEST + flow.asked, now, reliable=False, timing=self._timing
                )
                self._transmit_due(flow, flow.transaction, now)
            case Technique.CRLF:
                flow.asked = b""
                self._transmits.append(Transmit(PING, flow.path))
                self._timers.set(flow.path, now + PONG_TIMEOUT)
            case Technique.WEBSOCKET:
                flow.asked = self._random(_PING_PAYLOAD)
                self._events.append(SendPing(flow.path, flow.asked))
                self._timers.set(flow.path, now + PONG_TIMEOUT)
            case Technique.INDICATION:
                identifier = self._random(TRANSACTION_ID_LENGTH)
                self._transmits.append(Transmit(_INDICATION + identifier, flow.path))
                self._pause(flow, now)
            case _:
                assert_never(flow.technique)

    def _transmit_due(self, flow: _Flow, transaction: ClientTransaction, now: float) -> None:
        data = transaction.take_due(now)
        if data is not None:
            self._transmits.append(Transmit(data, flow.path))
        self._timers.set(flow.path, transaction.next_deadline())

    def _receive_response(self, flow: _Flow, response: Message, now: float) -> None:
        if response.method != Method.BINDING:
            return
        if response.message_class is MessageClass.ERROR_RESPONSE:
            # RFC 5626 §4.4.2: the other end does not keep this flow by STUN.
            self._fail(flow, "the other end answers STUN with an error")
        elif response.message_class is MessageClass.SUCCESS_RESPONSE:
            mapped = mapped_address(response)
            if mapped is not None:
                self._answered(flow, mapped, now)

    def _answered(self, flow: _Flow, mapped: Address | None, now: float) -> None:
        round_trip = now - flow.asked_at
        if mapped is not None:
            if flow.mapped is not None and flow.mapped != mapped:
                self._events.append(AddressChanged(flow.path, flow.mapped, mapped))
            flow.mapped = mapped
        self._events.append(Alive(flow.path, round_trip, mapped))
        self._pause(flow, now)

    def _fail(self, flow: _Flow, reason: str) -> None:
        self.stop(flow.path)
        self._events.append(FlowFailed(flow.path, reason))


_STREAM: Final = frozenset({Technique.CRLF})
_DATAGRAMS: Final = frozenset({Technique.STUN, Technique.INDICATION})
# RFC 7118 §6 leaves a WebSocket both its own ping and the CRLFs of RFC 5626.
_FRAMES: Final = frozenset({Technique.WEBSOCKET, Technique.CRLF})
_CARRIED: Final = {
    Transport.UDP: _DATAGRAMS,
    Transport.DTLS: _DATAGRAMS,
    Transport.TCP: _STREAM,
    Transport.TLS: _STREAM,
    Transport.SCTP: _STREAM,
    Transport.TLS_SCTP: _STREAM,
    Transport.WS: _FRAMES,
    Transport.WSS: _FRAMES,
}
