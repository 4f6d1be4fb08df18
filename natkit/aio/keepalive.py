"""Keep-alive on asyncio, for flows that belong to the application.

The application sends and receives on its own socket or connection; here only keep-alives pass::

    flow = keep(Transport.UDP, lambda data: transport.sendto(data, edge))
    # where the application receives:
    if not flow.received(data):
        ...                               # it is no answer to a keep-alive
    async for event in flow:              # Alive, AddressChanged, and in the end FlowFailed
        ...

Over TCP and TLS ``send`` writes between the application's messages and ``received`` is given what
lies between them (:class:`natkit.sip.framing.SipFraming` cuts it out).  Over WebSockets ``ping``
sends a ping frame, and the payload of each pong goes to :meth:`KeptFlow.pong`.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from natkit.address import Address
from natkit.aio.driver import Driver, Inputs
from natkit.errors import MisuseError, UnreachableError
from natkit.keepalive import (
    FlowFailed,
    FlowKeeper,
    KeepAliveEvent,
    SendPing,
    Technique,
    default_bound,
    technique_for,
)
from natkit.machine import Path, Transmit, Transport
from natkit.stun.transaction import DEFAULT_TIMING, Timing

__all__ = ["KeptFlow", "keep"]

MOST_EVENTS: Final = 100
"""Events that wait for somebody to take them; the oldest go first."""

# The machine tells flows apart by their paths, and here is one.
_HERE: Final = Address("", 0)
_THERE: Final = Address("", 1)


class KeptFlow:
    """One flow that is kept open, until it fails or is closed; made by :func:`keep`.

    Iterating gives its events as they come, and ends after FlowFailed or :meth:`close`.
    """

    def __init__(
        self,
        path: Path,
        send: Callable[[bytes], None],
        ping: Callable[[bytes], None] | None,
        timing: Timing,
    ) -> None:
        self._path = path
        self._ping = ping
        self._machine = FlowKeeper(random=os.urandom, timing=timing)
        carrier = _Borrowed(send)
        self._driver: Driver[KeepAliveEvent, object] = Driver(
            self._machine, self._on_event, datagrams=carrier, streams=carrier
        )
        self._events: deque[KeepAliveEvent] = deque(maxlen=MOST_EVENTS)
        self._news = asyncio.Event()
        self._ended = False

    def received(self, data: bytes) -> bool:
        """Whether ``data`` that came on the flow answers a keep-alive; otherwise it is not ours."""
        if self._ended or not self._machine.takes(data, self._path):
            return False
        self._driver.receive(data, self._path)
        return True

    def pong(self, payload: bytes) -> None:
        """A WebSocket's pong came."""
        if not self._ended:
            self._driver.run(lambda now: self._machine.pong(self._path, payload, now))

    def disconnected(self) -> None:
        """The connection ended; told as FlowFailed."""
        if not self._ended:
            self._driver.disconnected(self._path)

    def use(self, bound: float, *, technique: Technique | None = None) -> None:
        """From now on send each ``bound`` seconds at least, as the other end asked for."""
        if self._ended:
            raise MisuseError("the flow is no longer kept")
        chosen = technique or technique_for(self._path.transport)
        self._driver.run(lambda now: self._machine.keep(self._path, chosen, bound, now))

    async def failed(self) -> str:
        """Wait until the flow fails, passing over its other events; the reason, as a line."""
        async for event in self:
            if isinstance(event, FlowFailed):
                return event.reason
        return "it is no longer kept"

    def close(self) -> None:
        """Send no more keep-alives.  The application's socket stays as it is."""
        if self._path in self._machine:
            self._driver.run(lambda _: self._machine.stop(self._path))
        self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> KeepAliveEvent:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, technique: Technique, bound: float) -> None:
        self._driver.run(
            lambda now: self._machine.keep(self._path, technique, bound, now, at_once=True)
        )

    def _on_event(self, event: KeepAliveEvent) -> None:
        if isinstance(event, SendPing):
            if self._ping is not None:
                self._ping(event.payload)
            return
        self._events.append(event)
        self._news.set()
        if isinstance(event, FlowFailed):
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._news.set()


def keep(
    transport: Transport,
    send: Callable[[bytes], None],
    *,
    bound: float | None = None,
    technique: Technique | None = None,
    ping: Callable[[bytes], None] | None = None,
    timing: Timing = DEFAULT_TIMING,
) -> KeptFlow:
    """Keep a flow of the application's open, from now on (RFC 5626 §4.4).

    ``send`` sends one datagram or writes one message, and does not block; what it raises as OSError
    is a lost message.  ``bound`` is the longest time between keep-alives in seconds; without it 29
    over UDP and 120 over connections (:func:`natkit.keepalive.negotiated_bound` has what peers
    ask for).  ``technique``: STUN over UDP, CRLF over TCP and TLS, pings over WebSockets.
    Raises MisuseError for what does not go together.  Needs a running event loop.
    """
    chosen = technique or technique_for(transport)
    if chosen is Technique.WEBSOCKET and ping is None:
        raise MisuseError("a WebSocket is kept open by ping frames: say how to send one (ping=…)")
    flow = KeptFlow(Path(transport, _HERE, _THERE), send, ping, timing)
    flow._start(chosen, default_bound(transport) if bound is None else bound)  # noqa: SLF001 - its maker
    return flow


class _Borrowed:
    """The application's socket or connection as a carrier: it is sent on, and never closed."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def attach(self, inputs: Inputs) -> None:
        """What arrives is told by KeptFlow.received."""

    def send(self, transmit: Transmit) -> None:
        with suppress(OSError):
            self._send(transmit.data)

    def flush(self) -> None:
        """Nothing is kept."""

    def open(self, local: Address) -> Address:
        raise UnreachableError(f"no socket is opened on {local} for keep-alives")

    def close_socket(self, local: Address) -> None:
        """It is not ours to close."""

    def close(self) -> None:
        """It is not ours to close."""

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:  # noqa: ARG002 - the interface
        raise UnreachableError(f"no connection to {remote} is made for keep-alives")

    def start(self, path: Path) -> None:
        """Nothing is delivered from here."""

    def close_path(self, path: Path) -> None:
        """It is not ours to close."""

    async def aclose(self) -> None:
        """It is not ours to close."""
