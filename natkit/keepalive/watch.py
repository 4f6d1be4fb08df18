"""The side that is asked: it answers keep-alives, and notices flows that fell silent."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from natkit.errors import MalformedMessage
from natkit.keepalive.crlf import PING, PONG
from natkit.machine import Failure, Path, RequestId, Transmit
from natkit.stun.attributes import ErrorCode, UnknownAttributes, XorMappedAddress
from natkit.stun.demux import is_stun
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method, StunError
from natkit.timers import TimerQueue

__all__ = ["FlowSilent", "FlowWatch"]

MOST_FLOWS = 100_000
"""Flows that are watched at once: those beyond are answered and not watched."""


@dataclass(frozen=True, slots=True)
class FlowSilent:
    """Nothing came on the flow for the time that it was given; it is no longer watched."""

    path: Path
    silence: float


class FlowWatch:
    """Answers both keep-alives of RFC 5626 §5.4 and times the flows that were promised; a machine.

    Everything that arrives on a flow is to be told by :meth:`receive`, which answers a PING with a
    PONG and a Binding request with the address that it came from.  :meth:`takes` says whether it
    was a keep-alive or is the application's.
    """

    def __init__(self, most_flows: int = MOST_FLOWS) -> None:
        self._most = most_flows
        self._patience: dict[Path, float] = {}
        self._timers: TimerQueue[Path] = TimerQueue()
        self._transmits: list[Transmit] = []
        self._events: deque[FlowSilent] = deque()

    def __len__(self) -> int:
        return len(self._patience)

    def watch(self, path: Path, silence: float, now: float) -> bool:
        """Tell :class:`FlowSilent` once nothing has come for ``silence`` seconds.

        For a flow that was given a Flow-Timer that is
        :func:`~natkit.keepalive.outbound.dead_after` of it.  False when too many are watched.
        """
        if path not in self._patience and len(self._patience) >= self._most:
            return False
        self._patience[path] = silence
        self._timers.set(path, now + silence)
        return True

    def stop(self, path: Path) -> None:
        """Watch it no longer."""
        self._patience.pop(path, None)
        self._timers.cancel(path)

    @staticmethod
    def takes(data: bytes, path: Path) -> bool:
        """Whether a message is a keep-alive, and not the application's."""
        if path.transport.is_reliable:
            return data in (PING, PONG)
        return is_stun(data)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A message arrived on a flow."""
        silence = self._patience.get(path)
        if silence is not None:
            self._timers.set(path, now + silence)
        if path.transport.is_reliable:
            if data == PING:
                self._transmits.append(Transmit(PONG, path))
        elif is_stun(data):
            self._answer_binding(data, path)

    def disconnected(self, path: Path, now: float) -> None:  # noqa: ARG002 - the contract
        """The stream ended; whoever sees that needs no event."""
        self.stop(path)

    def answer(self, request_id: RequestId, result: object | Failure, now: float) -> None:
        """There are no requests to the shell."""

    def handle_timer(self, now: float) -> None:
        """Tell of the flows that fell silent."""
        for path in self._timers.pop_due(now):
            self._events.append(FlowSilent(path, self._patience.pop(path)))

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> FlowSilent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    def _answer_binding(self, data: bytes, path: Path) -> None:
        try:
            request = Message.parse(data)
        except MalformedMessage:
            return
        if request.message_class is not MessageClass.REQUEST or request.method != Method.BINDING:
            return
        unknown = request.unknown_required()
        if unknown:
            # RFC 8489 §6.3.1
            response = request.error(
                ErrorCode(StunError.UNKNOWN_ATTRIBUTE), UnknownAttributes(unknown)
            )
        else:
            response = request.success(XorMappedAddress(path.remote))
        self._transmits.append(Transmit(response.encode(), path))
