"""The Binding method for clients: which address the server sees (RFC 8489 §3, §6.3.3)."""

from collections import deque
from dataclasses import dataclass

from natkit.address import Address
from natkit.errors import (
    MalformedMessage,
    MisuseError,
    NatkitError,
    UnreachableError,
)
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit
from natkit.stun.attributes import MappedAddress, XorMappedAddress
from natkit.stun.authentication import Authentication
from natkit.stun.conversation import Conversation, Succeeded
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.stun.transaction import DEFAULT_TIMING, Timing


@dataclass(frozen=True, slots=True)
class Bound:
    """The server saw the request come from ``mapped``, ``round_trip`` seconds ago.

    ``round_trip`` runs from the first transmission to the answer, retransmissions and challenges
    included.
    """

    mapped: Address
    round_trip: float
    response: Message


@dataclass(frozen=True, slots=True)
class BindingFailed:
    """There is no answer to be had: see :class:`~natkit.stun.conversation.Failed`."""

    error: NatkitError


BindingEvent = Bound | BindingFailed


class BindingClient:
    """One Binding request at a time over one path; a machine (see :mod:`natkit.machine`).

    Over a stream each message must have been framed by :class:`~natkit.stun.framing.StunFraming`.
    """

    def __init__(
        self,
        path: Path,
        *,
        random: RandomBytes,
        authentication: Authentication | None = None,
        timing: Timing = DEFAULT_TIMING,
        software: str | None = None,
    ) -> None:
        self._path = path
        self._conversation = Conversation(
            reliable=path.transport.is_reliable,
            random=random,
            authentication=authentication,
            timing=timing,
            software=software,
        )
        self._started_at = 0.0
        self._events: deque[BindingEvent] = deque()

    def start(self, now: float) -> None:
        """Send a request; MisuseError while another is under way."""
        if len(self._conversation):
            raise MisuseError("a Binding request is under way already")
        self._started_at = now
        self._conversation.request(Method.BINDING, (), now)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Take a datagram or message; what is no answer is ignored."""
        if path != self._path:
            return
        try:
            response = Message.parse(data)
        except MalformedMessage:
            return
        self._conversation.receive(response, now)
        self._collect(now)

    def disconnected(self, path: Path, now: float) -> None:
        """The stream ended: so does the request."""
        if path == self._path:
            self._conversation.fail_all(UnreachableError(f"{path.remote} closed the connection"))
            self._collect(now)

    def answer(self, request_id: RequestId, result: object | Failure, now: float) -> None:
        """There are no requests to the shell."""

    def handle_timer(self, now: float) -> None:
        """Retransmit, or give up."""
        self._conversation.handle_timer(now)
        self._collect(now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._conversation.next_deadline()

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent."""
        return [Transmit(data, self._path) for data in self._conversation.transmits()]

    def next_event(self) -> BindingEvent | None:
        """Take the outcome, or None."""
        return self._events.popleft() if self._events else None

    def _collect(self, now: float) -> None:
        while (outcome := self._conversation.next_outcome()) is not None:
            if not isinstance(outcome, Succeeded):
                self._events.append(BindingFailed(outcome.error))
                continue
            mapped = mapped_address(outcome.response)
            if mapped is None:
                error = MalformedMessage("a Binding response without a mapped address")
                self._events.append(BindingFailed(error))
            else:
                self._events.append(Bound(mapped, now - self._started_at, outcome.response))


def mapped_address(response: Message) -> Address | None:
    """The reflexive address in a success response.

    XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS of a server that knows only RFC 3489.
    """
    xor_mapped = response.get(XorMappedAddress)
    if xor_mapped is not None:
        return xor_mapped.address
    mapped = response.get(MappedAddress)
    return None if mapped is None else mapped.address
