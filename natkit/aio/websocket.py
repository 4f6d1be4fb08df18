"""WebSocket connections that carry one message each way a frame, for a driver (RFC 6455, RFC 7118).

::

    streams = WebSocketConnections(StreamConnections(Chunks), host="ws.example.org")
    secure = WebSocketConnections(TlsConnections(Chunks, client=...), host="ws.example.org")

The bytes go over the connections of :mod:`natkit.aio.tcp` or :mod:`natkit.aio.tls`; what they mean
is websockets' protocol, which does no I/O of its own.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLOSING, CONNECTING, OPEN
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.tcp import LINGER, StreamConnections
from natkit.errors import MisuseError, UpgradeRefused
from natkit.machine import Path, Transmit, Transport

__all__ = ["LARGEST_MESSAGE", "LARGEST_PING", "Chunks", "WebSocketConnections"]

LARGEST_MESSAGE: Final = 65_535
"""Bytes of a message, as over other streams; a larger one ends the connection (status 1009)."""

LARGEST_PING: Final = 125
"""Bytes of a ping's payload (RFC 6455 §5.5)."""

LARGEST_EARLY: Final = 64
"""Messages kept between the handshake and ``start``, which follow each other at once."""

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds for the HTTP exchange once the connection stands."""

_OVER: Final = {Transport.TCP: Transport.WS, Transport.TLS: Transport.WSS}


class Chunks:
    """The framing of the connections beneath: every piece as it comes."""

    def receive(self, data: bytes) -> Sequence[bytes]:
        """The same bytes."""
        return [data]


@dataclass
class _WebSocket:
    """One connection; ``opening`` is of those that we make, and ends with their handshake.

    ``is_new``: it was accepted, and brought no message yet.
    """

    below: Path
    protocol: ClientProtocol | ServerProtocol
    opening: asyncio.Future[None] | None = None
    started: bool = False
    lost: bool = False
    last_message: float = 0.0
    unfinished_since: float | None = None
    is_new: bool = False
    early: list[bytes] = field(default_factory=list)
    parts: bytearray = field(default_factory=bytearray)


class WebSocketConnections:
    """The WebSockets of one driver; a :class:`natkit.aio.driver.StreamCarrier`.

    ``streams`` have :class:`Chunks` as framing and belong to this carrier from now on.  ``host``
    and ``resource`` are what a client asks for.  ``subprotocol`` must be agreed on by both ends.
    ``origins`` are the web sites whose scripts may connect, ``https://www.example.org`` say; by
    default any may.  Who names no origin is no browser, and is not asked for one (RFC 6455 §4.2.2).
    ``on_pong`` is told of every pong with its payload, whoever asked for it.
    """

    def __init__(
        self,
        streams: StreamConnections,
        *,
        host: str = "",
        resource: str = "/",
        subprotocol: str = "sip",
        origins: Sequence[str] | None = None,
        on_pong: Callable[[Path, bytes], None] | None = None,
    ) -> None:
        self._streams = streams
        self._transport = _OVER[streams.speaks]
        self._host = host
        self._resource = resource
        self._subprotocol = Subprotocol(subprotocol)
        self._on_pong = on_pong
        self._origins = None if origins is None else [None, *map(Origin, origins)]
        self._sockets: dict[Path, _WebSocket] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._inputs: Inputs | None = None
        streams.attach(_Below(self))

    # ── the face towards the driver ─────────────────────────────────────────────────────────────

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``; connections made before that are started."""
        self._inputs = inputs
        for path in tuple(self._sockets):
            self.start(path)

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect and upgrade; UnreachableError, TlsFailed or UpgradeRefused."""
        if transport is not self._transport:
            raise UpgradeRefused(f"cannot connect to {remote} over {transport.upper()} here")
        below = await self._streams.connect(self._streams.speaks, local, remote)
        uri = WebSocketURI(
            secure=transport.is_secure,
            host=self._host or remote.host,
            port=remote.port,
            path=self._resource,
            query="",
        )
        protocol = ClientProtocol(uri, subprotocols=[self._subprotocol], max_size=LARGEST_MESSAGE)
        opening = asyncio.get_running_loop().create_future()
        now = asyncio.get_running_loop().time()
        made = _WebSocket(below, protocol, opening, last_message=now)
        path = self._above(below)
        self._sockets[path] = made
        protocol.send_request(protocol.connect())
        self._flush(made)
        self._streams.start(below)
        doing = f"open a WebSocket to {remote}"
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                await opening
        except TimeoutError:
            raise self._abandon(made, f"cannot {doing}: no answer in time") from None
        except WebSocketException as error:
            refusal = self._abandon(made, f"cannot {doing}: {_why(error)}")
            if isinstance(error, InvalidStatus):
                refusal.status = error.response.status_code
            raise refusal from error
        except BaseException:
            self._abandon(made, "")
            raise
        if protocol.subprotocol != self._subprotocol:
            raise self._abandon(
                made, f"cannot {doing}: it does not agree to speak {self._subprotocol!r}"
            )
        return path

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`connect` made."""
        held = self._sockets.get(path)
        if held is None or self._inputs is None or held.started:
            return
        if held.opening is not None and not held.opening.done():
            return
        held.started = True
        with self._inputs.many():
            for message in held.early:
                self._inputs.receive(message, path)
        held.early.clear()
        if held.lost:
            del self._sockets[path]
            self._inputs.disconnected(path)

    async def listen(
        self, sock: socket.socket, accept: Callable[[Path], bool] = lambda _: True
    ) -> None:
        """Accept connections on a bound socket, which now belongs to this carrier.

        ``accept`` is asked for each, by its path beneath; one that it declines is reset.
        """
        await self._streams.listen(sock, accept)

    async def adopt(self, sock: socket.socket, remote: Address) -> asyncio.Future[None]:
        """Serve a connection that somebody else accepted, as ``StreamConnections.adopt`` does."""
        return await self._streams.adopt(sock, remote)

    def send(self, transmit: Transmit) -> None:
        """Send a message: as text, which SIP is, or as binary if it is no UTF-8."""
        held = self._sockets.get(transmit.path)
        if held is None or held.protocol.state is not OPEN:
            return
        try:
            transmit.data.decode("utf-8")
            held.protocol.send_text(transmit.data)
        except UnicodeDecodeError:
            held.protocol.send_binary(transmit.data)
        self._flush(held)

    def ping(self, path: Path, payload: bytes) -> None:
        """Send a ping frame between the messages; its pong has the same payload (RFC 6455 §5.5.2).

        On a connection that is gone it is dropped.  MisuseError for more than LARGEST_PING bytes.
        """
        if len(payload) > LARGEST_PING:
            raise MisuseError(f"a ping carries {LARGEST_PING} bytes, not {len(payload)}")
        held = self._sockets.get(path)
        if held is None or held.protocol.state is not OPEN:
            return
        held.protocol.send_ping(payload)
        self._flush(held)

    def close_path(self, path: Path) -> None:
        """Say that it is over, and close once the peer agrees, or after LINGER seconds."""
        held = self._sockets.get(path)
        if held is None or held.protocol.state is CONNECTING:
            self._streams.close_path(self._below(path))
            return
        if held.protocol.state is not OPEN:
            return
        held.protocol.send_close()
        self._flush(held)
        task = asyncio.get_running_loop().create_task(self._linger(held))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def last_messages(self) -> dict[Path, float]:
        """Each path, and the loop's time of its last whole message or else its beginning."""
        beneath = self._streams.last_messages()
        found = {self._above(below): last for below, last in beneath.items()}
        found.update((path, held.last_message) for path, held in self._sockets.items())
        return found

    def unfinished(self) -> dict[Path, float]:
        """Each path on which a message or a handshake has not ended, and since when.

        So for a connection that was accepted and brought no message yet.
        """
        found = {self._above(below): since for below, since in self._streams.unfinished().items()}
        for path, held in self._sockets.items():
            is_open = held.protocol.state in (CONNECTING, OPEN)
            if held.unfinished_since is not None and is_open:
                found[path] = held.unfinished_since
        return found

    async def aclose(self) -> None:
        """Close every connection, and wait until they are gone."""
        for path in tuple(self._sockets):
            self.close_path(path)
        await self._streams.aclose()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    # ── the face towards the connections beneath ────────────────────────────────────────────────

    def received(self, data: bytes, below: Path) -> None:
        """Bytes arrived beneath."""
        path = self._above(below)
        held = self._sockets.get(path)
        if held is None:
            server = ServerProtocol(
                origins=self._origins, subprotocols=[self._subprotocol], max_size=LARGEST_MESSAGE
            )
            now = asyncio.get_running_loop().time()
            held = self._sockets[path] = _WebSocket(
                below, server, started=True, last_message=now, unfinished_since=now, is_new=True
            )
        held.protocol.receive_data(data)
        events = held.protocol.events_received()
        for event in events:
            self._handle(held, path, event)
        self._note_progress(held, whole=bool(events))
        self._settle_opening(held)
        self._flush(held)

    def ended(self, below: Path) -> None:
        """The connection beneath is gone."""
        path = self._above(below)
        held = self._sockets.get(path)
        if held is None:
            return
        if held.opening is not None and not held.opening.done():
            held.opening.set_exception(WebSocketException("it ended the connection"))
        elif held.started:
            del self._sockets[path]
            if self._inputs is not None:
                self._inputs.disconnected(path)
        else:
            held.lost = True

    def many(self) -> AbstractContextManager[None]:
        """Around the inputs of one wake-up."""
        return _nothing() if self._inputs is None else self._inputs.many()

    def _handle(self, held: _WebSocket, path: Path, event: object) -> None:
        match event:
            case Request() if isinstance(held.protocol, ServerProtocol):
                held.protocol.send_response(held.protocol.accept(event))
            case Frame(opcode=Opcode.TEXT | Opcode.BINARY | Opcode.CONT):
                held.parts += event.data
                if event.fin:
                    message = bytes(held.parts)
                    held.parts.clear()
                    held.is_new = False
                    held.last_message = asyncio.get_running_loop().time()
                    self._deliver(held, path, message)
            case Frame(opcode=Opcode.PONG, data=payload):
                if self._on_pong is not None:
                    self._on_pong(path, bytes(payload))
            case _:
                # Pings are answered, and closing is agreed to, by the protocol itself.
                return

    def _note_progress(self, held: _WebSocket, *, whole: bool) -> None:
        """Bytes came, of a ``whole`` frame or of less."""
        if held.is_new:
            return
        if whole and not held.parts:
            held.unfinished_since = None
        elif held.unfinished_since is None:
            held.unfinished_since = asyncio.get_running_loop().time()

    def _settle_opening(self, held: _WebSocket) -> None:
        if held.opening is None or held.opening.done():
            return
        if held.protocol.handshake_exc is not None:
            held.opening.set_exception(held.protocol.handshake_exc)
        elif held.protocol.state is OPEN:
            held.opening.set_result(None)

    def _deliver(self, held: _WebSocket, path: Path, message: bytes) -> None:
        if held.protocol.state is CLOSING:
            return
        if self._inputs is not None and held.started:
            self._inputs.receive(message, path)
        elif len(held.early) < LARGEST_EARLY:
            held.early.append(message)
        else:
            self._streams.close_path(held.below)

    def _flush(self, held: _WebSocket) -> None:
        for data in held.protocol.data_to_send():
            if data:
                self._streams.send(Transmit(data, held.below))
            else:
                # The protocol's sign that nothing more will be sent.
                self._streams.close_path(held.below)

    def _abandon(self, held: _WebSocket, why: str) -> UpgradeRefused:
        self._sockets.pop(self._above(held.below), None)
        self._streams.close_path(held.below)
        return UpgradeRefused(why)

    async def _linger(self, held: _WebSocket) -> None:
        await asyncio.sleep(LINGER)
        self._streams.close_path(held.below)

    def _below(self, path: Path) -> Path:
        return Path(self._streams.speaks, path.local, path.remote)

    def _above(self, below: Path) -> Path:
        return Path(self._transport, below.local, below.remote)


class _Below:
    """What the connections beneath tell; satisfies :class:`natkit.aio.driver.Inputs`."""

    def __init__(self, owner: WebSocketConnections) -> None:
        self._owner = owner

    def receive(self, data: bytes, path: Path) -> None:
        self._owner.received(data, path)

    def disconnected(self, path: Path) -> None:
        self._owner.ended(path)

    def many(self) -> AbstractContextManager[None]:
        return self._owner.many()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _why(error: WebSocketException) -> str:
    if isinstance(error, InvalidStatus):
        return f"it answered {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return " ".join(str(error).split()) or type(error).__name__
