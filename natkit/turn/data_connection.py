"""A client data connection: a stream to the server that becomes one to a peer (RFC 6062 §4.3).

::

    binding = allocation.data_connection(connection_id)
    binding.start(now)                  # DataConnectionBound(path), or DataConnectionFailed

Once bound, the stream of ``path`` carries the peer's data and no more messages: the shell takes it,
with whatever its framing holds (:data:`HOLD_AFTER`).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from natkit.address import Address
from natkit.errors import MalformedMessage, NatkitError, TlsFailed, UnreachableError
from natkit.machine import (
    ClosePath,
    Connect,
    Failure,
    Path,
    RandomBytes,
    RequestId,
    Transmit,
    Transport,
)
from natkit.stun.attributes import ConnectionId
from natkit.stun.authentication import Authentication
from natkit.stun.conversation import Conversation, Succeeded
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method, message_type

HOLD_AFTER: Final = frozenset({message_type(Method.CONNECTION_BIND, MessageClass.SUCCESS_RESPONSE)})
"""The message after which the peer's data comes: see StunFraming's ``hold_after``."""

BIND_TIMEOUT: Final = 30.0
"""Seconds after which the server has closed a connection that nobody bound (RFC 6062 §5.2)."""


@dataclass(frozen=True, slots=True)
class DataConnectionBound:
    """The stream of ``path`` is the peer's now."""

    path: Path


@dataclass(frozen=True, slots=True)
class DataConnectionFailed:
    """There is no data connection; ``error`` tells why."""

    error: NatkitError


DataConnectionEvent = DataConnectionBound | DataConnectionFailed | Connect | ClosePath

_REQUEST: Final = 1


class DataConnection:
    """A machine (:mod:`natkit.machine`) that binds one connection, over a stream of its own.

    ``authentication`` begins with what the control connection was told: a server may take no
    request without it (RFC 6062 §4.3: the same credentials).
    """

    def __init__(
        self,
        server: Address,
        transport: Transport,
        connection_id: int,
        *,
        authentication: Authentication,
        random: RandomBytes,
    ) -> None:
        self._server = server
        self._transport = transport
        self._connection_id = connection_id
        self._conversation = Conversation(
            reliable=True, random=random, authentication=authentication
        )
        self._path: Path | None = None
        self._deadline: float | None = None
        self._events: deque[DataConnectionEvent] = deque()

    def start(self, now: float) -> None:
        """Begin; once."""
        self._deadline = now + BIND_TIMEOUT
        self._events.append(Connect(_REQUEST, self._transport, None, self._server))

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A message from the server."""
        if path != self._path:
            return
        try:
            self._conversation.receive(Message.parse(data), now)
        except MalformedMessage as error:
            self._fail(error)
            return
        self._take_outcome()

    def disconnected(self, path: Path, now: float) -> None:  # noqa: ARG002 - the contract
        """The stream ended before it was bound."""
        if path == self._path:
            self._path = None
            self._fail(UnreachableError(f"{self._server} closed the connection"))

    def answer(self, request_id: RequestId, result: Path | Failure, now: float) -> None:  # noqa: ARG002 - the contract
        """The stream is there, or is not."""
        if isinstance(result, Failure):
            reason = result.reason
            self._fail(TlsFailed(reason) if result.tls_failed else UnreachableError(reason))
        elif self._deadline is None:
            self._events.append(ClosePath(result))
        else:
            self._path = result
            attributes = (ConnectionId(self._connection_id),)
            self._conversation.request(Method.CONNECTION_BIND, attributes, now)

    def handle_timer(self, now: float) -> None:
        """Give up in the end."""
        self._conversation.handle_timer(now)
        self._take_outcome()
        if self._deadline is not None and self._deadline <= now:
            self._fail(UnreachableError(f"{self._server} did not bind the connection in time"))

    def next_deadline(self) -> float | None:
        """When to give up."""
        return self._deadline

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent to the server."""
        path = self._path
        taken = self._conversation.transmits()
        return [Transmit(data, path) for data in taken] if path is not None else []

    def next_event(self) -> DataConnectionEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    def _take_outcome(self) -> None:
        outcome = self._conversation.next_outcome()
        if outcome is None or self._path is None:
            return
        if not isinstance(outcome, Succeeded):
            # RFC 6062 §4.3: the connection is closed.
            self._fail(outcome.error)
            return
        path, self._path, self._deadline = self._path, None, None
        self._events.append(DataConnectionBound(path))

    def _fail(self, error: NatkitError) -> None:
        if self._deadline is None:
            return
        self._deadline = None
        path, self._path = self._path, None
        if path is not None:
            self._events.append(ClosePath(path))
        self._events.append(DataConnectionFailed(error))
