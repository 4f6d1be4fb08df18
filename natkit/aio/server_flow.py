"""Opens a flow to a server and keeps it open: for those who have no socket of their own to share.

::

    async with await connect_flow(targets) as flow:
        print(flow.first.round_trip, flow.first.mapped)
        async for event in flow.kept:        # Alive, AddressChanged, and in the end FlowFailed
            ...

The keep-alive is that of the target's transport (:func:`natkit.keepalive.technique_for`).  What
else arrives on the flow is dropped.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Final, assert_never

from natkit.aio.keepalive import KeptFlow, keep
from natkit.aio.race import first_success
from natkit.aio.scoped import Scoped
from natkit.aio.secure import SYSTEM_TRUST, Trust, client_connections
from natkit.aio.tcp import StreamConnections
from natkit.aio.udp import DatagramSockets, source_address
from natkit.aio.websocket import Chunks, WebSocketConnections
from natkit.errors import MisuseError, TransactionTimeout, UnreachableError
from natkit.keepalive import AddressChanged, Alive, FlowFailed, SendPing
from natkit.locate import Target
from natkit.machine import Path, Transmit, Transport
from natkit.sip.framing import Expect, SipFraming
from natkit.stun.transaction import DEFAULT_TIMING, Timing

__all__ = ["ServerFlow", "connect_flow"]

ANSWER_TIMEOUT: Final = 10.0
"""Seconds for a server to be reached and to answer the first keep-alive."""


class ServerFlow(Scoped):
    """A flow to a server that has answered once; made by :func:`connect_flow`.

    ``first`` is that answer, ``kept`` gives the events that follow.  Closing closes the socket.
    """

    def __init__(self, server: Target) -> None:
        self.server = server
        self.path: Path
        self.kept: KeptFlow
        self.first: Alive
        self._datagrams: DatagramSockets | None = None
        self._streams: StreamConnections | WebSocketConnections | None = None

    async def aclose(self) -> None:
        """Send no more keep-alives, and close the socket or connection."""
        if hasattr(self, "kept"):
            self.kept.close()
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            await self._streams.aclose()

    # ── what the carrier tells (natkit.aio.driver.Inputs) ───────────────────────────────────────

    def receive(self, data: bytes, path: Path) -> None:
        """Something arrived; what answers no keep-alive is dropped."""
        if path == self.path:
            self.kept.received(data)

    def disconnected(self, path: Path) -> None:
        """The connection ended."""
        if path == self.path:
            self.kept.disconnected()

    def many(self) -> AbstractContextManager[None]:
        """Around the inputs of one wake-up, each of which is handled at once here."""
        return nullcontext()

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    async def open(self, bound: float | None, trust: Trust, resource: str, timing: Timing) -> None:
        """Connect, keep, and wait for the first answer; only for :func:`connect_flow`."""
        match self.server.transport:
            case Transport.UDP:
                self._open_datagrams(bound, timing)
            case Transport.TCP | Transport.TLS:
                streams = client_connections(
                    self.server, (), trust, lambda: SipFraming(Expect.PONGS)
                )
                await self._open_stream(streams, bound)
            case Transport.WS | Transport.WSS:
                await self._open_websocket(bound, trust, resource)
            case Transport.DTLS | Transport.SCTP | Transport.TLS_SCTP:
                raise MisuseError(f"no keep-alive is defined over {self.server.transport.upper()}")
            case _:
                assert_never(self.server.transport)
        self.first = await self._first_answer()

    def _open_datagrams(self, bound: float | None, timing: Timing) -> None:
        datagrams = self._datagrams = DatagramSockets()
        local = datagrams.open(source_address(self.server.address))
        path = self.path = Path(Transport.UDP, local, self.server.address)

        def send(data: bytes) -> None:
            datagrams.send(Transmit(data, path))
            datagrams.flush()

        datagrams.attach(self)
        self.kept = keep(Transport.UDP, send, bound=bound, timing=timing)

    async def _open_stream(self, streams: StreamConnections, bound: float | None) -> None:
        self._streams = streams
        path = self.path = await streams.connect(self.server.transport, None, self.server.address)
        self.kept = keep(
            path.transport, lambda data: streams.send(Transmit(data, path)), bound=bound
        )
        streams.attach(self)
        streams.start(path)

    async def _open_websocket(self, bound: float | None, trust: Trust, resource: str) -> None:
        beneath = Transport.TLS if self.server.transport.is_secure else Transport.TCP
        sockets = self._streams = WebSocketConnections(
            client_connections(replace(self.server, transport=beneath), (), trust, Chunks),
            host=self.server.host,
            resource=resource,
            on_pong=self._on_pong,
        )
        path = self.path = await sockets.connect(self.server.transport, None, self.server.address)
        self.kept = keep(
            path.transport,
            lambda data: sockets.send(Transmit(data, path)),
            bound=bound,
            ping=lambda payload: sockets.ping(path, payload),
        )
        sockets.attach(self)
        sockets.start(path)

    def _on_pong(self, path: Path, payload: bytes) -> None:
        if path == self.path:
            self.kept.pong(payload)

    async def _first_answer(self) -> Alive:
        async for event in self.kept:
            match event:
                case Alive():
                    return event
                case FlowFailed(_, reason):
                    raise UnreachableError(f"{self.server.address} does not answer: {reason}")
                case AddressChanged() | SendPing():
                    pass
                case _:
                    assert_never(event)
        raise UnreachableError(f"the flow to {self.server.address} was closed")


async def connect_flow(
    targets: Sequence[Target],
    *,
    bound: float | None = None,
    trust: Trust = SYSTEM_TRUST,
    resource: str = "/",
    timeout: float = ANSWER_TIMEOUT,  # noqa: ASYNC109 - a limit of its own, with an error of its own
    timing: Timing = DEFAULT_TIMING,
) -> ServerFlow:
    """A flow to the first of ``targets`` that answers a keep-alive; for ``async with``.

    ``bound``: the longest time between keep-alives in seconds, by default RFC 5626's.  ``resource``
    is what a WebSocket is opened for.  ``timeout``, in seconds, is for the first answer of all.
    Raises UnreachableError, TlsFailed and UpgradeRefused among it, TransactionTimeout, and
    MisuseError for a transport without keep-alive.
    """

    async def attempt(server: Target) -> ServerFlow:
        flow = ServerFlow(server)
        try:
            await flow.open(bound, trust, resource, timing)
        except BaseException:
            await flow.aclose()
            raise
        return flow

    try:
        async with asyncio.timeout(timeout):
            return await first_success(targets, attempt, ServerFlow.aclose)
    except TimeoutError as error:
        if isinstance(error, TransactionTimeout):
            raise
        names = ", ".join(dict.fromkeys(str(each.address) for each in targets))
        raise TransactionTimeout(f"no answer from {names} within {timeout:g} s") from None
