"""The connections of a proxy, over TCP, TLS and WebSockets: those that come, and those we make."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from natkit.address import Address
from natkit.aio.accepting import Admission, StreamListener
from natkit.aio.driver import Inputs
from natkit.aio.tcp import StreamConnections
from natkit.aio.tls import TlsConnections, TlsSession
from natkit.aio.websocket import Chunks, WebSocketConnections
from natkit.errors import MisuseError, UnreachableError
from natkit.locate import Target
from natkit.machine import Path, StreamFraming, Transmit, Transport
from natkit.sip.framing import PING, PONG, Expect, SipFraming
from sip_proxy.shell.listening import Bound
from sip_proxy.shell.securing import Securing, TlsSettings

__all__ = ["StreamSettings", "Streams"]

_Carrier = StreamConnections | WebSocketConnections

_SWEEPS: Final = 4
"""Looks for connections that are overdue, within the shortest time limit."""

_FROM_CLIENTS: Final = partial(SipFraming, Expect.PINGS)
_FROM_SERVERS: Final = partial(SipFraming, Expect.PONGS)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """``origins``: the web sites whose pages may open a WebSocket here, None for any of them.

    Times in seconds.  ``connect_timeout``: until a server counts as unreachable, handshakes
    included.  ``handshake_timeout``: for a client's TLS handshake.  ``message_timeout``: from the
    first byte of a message to its last, and until a client's first message.  ``idle``: for a
    connection that came and says nothing, not even a keep-alive; ``idle_made``: for one that we
    made and have no use for.  ``largest_made``: connections of ours at once.
    """

    tls: TlsSettings = field(default_factory=TlsSettings)
    origins: tuple[str, ...] | None = None
    connect_timeout: float = 5.0
    handshake_timeout: float = 10.0
    message_timeout: float = 30.0
    idle: float = 3900.0
    idle_made: float = 900.0
    largest_made: int = 10_000


class Streams:
    """A :class:`~natkit.aio.driver.StreamCarrier`.

    Connections that come are kept by transport.  Each that we make has a carrier to itself, for
    each asks for another name; and their keep-alives differ: who connected sends the pings
    (RFC 5626 §3.5.1).  ``on_identified`` is told the domains that the peer of a connection speaks
    for by its certificate, before anything else of it.
    """

    def __init__(
        self,
        admission: Admission,
        settings: StreamSettings,
        *,
        on_identified: Callable[[Path, frozenset[str]], None],
        on_pong: Callable[[Path, bytes], None],
    ) -> None:
        self._on_identified = on_identified
        self._on_pong = on_pong
        self._admission = admission
        self._settings = settings
        handshake = settings.handshake_timeout
        self._tls = TlsConnections(
            _FROM_CLIENTS, on_accepted=self._identify, connect_timeout=handshake
        )
        self._beneath_wss = TlsConnections(Chunks, connect_timeout=handshake)
        origins = settings.origins
        self._come: dict[Transport, _Carrier] = {
            Transport.TCP: StreamConnections(_FROM_CLIENTS),
            Transport.TLS: self._tls,
            Transport.WS: WebSocketConnections(
                StreamConnections(Chunks), origins=origins, on_pong=on_pong
            ),
            Transport.WSS: WebSocketConnections(
                self._beneath_wss, origins=origins, on_pong=on_pong
            ),
        }
        self._made: dict[Path, _Carrier] = {}
        self._used: dict[Path, float] = {}
        self.overdue = 0
        """Connections closed since they finished no message in time."""
        self.crowded_out = 0
        """Connections not made since too many are open."""
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.create_task(self._sweep())
        self._ending: set[asyncio.Task[None]] = set()
        self._listeners: list[StreamListener] = []
        self._inputs: Inputs | None = None
        self._secure_with(Securing(settings.tls))

    @property
    def securing(self) -> Securing:
        """The certificates in use."""
        return self._securing

    def renew(self, tls: TlsSettings) -> None:
        """Read the certificates again, for handshakes that begin later.

        ConfigError leaves those in use that were.
        """
        self.use(Securing(tls))

    def use(self, securing: Securing) -> None:
        """Have handshakes that begin later use these certificates."""
        if securing.tls is None and self._tls.server is not None:
            raise MisuseError("listeners of TLS need a certificate")
        self._secure_with(securing)

    def _secure_with(self, securing: Securing) -> None:
        self._securing = securing
        self._tls.server, self._beneath_wss.server = securing.tls, securing.wss

    def listen(self, bound: Sequence[Bound]) -> None:
        """Accept on the sockets that listen."""
        for each in bound:
            transport = each.listener.transport
            if transport is Transport.UDP:
                continue
            if transport.is_secure and self._tls.server is None:
                raise MisuseError(f"a listener of {transport} needs a certificate")
            self._listeners.append(
                StreamListener(each.socket, self._admission, plain=self._come[transport])
            )

    # ── the carrier ─────────────────────────────────────────────────────────────────────────────

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self._inputs = inputs
        for carrier in self._come.values():
            carrier.attach(inputs)

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect to a server by its address alone; raises UnreachableError."""
        return await self._open(Target(transport, remote, remote.host, remote.host), local)

    async def open(self, target: Target) -> Path:
        """Connect to ``target``; UnreachableError, TlsFailed and UpgradeRefused among it."""
        return await self._open(target, None)

    async def _open(self, target: Target, local: Address | None) -> Path:
        if self._inputs is None:
            raise MisuseError("nobody is told of connections yet")
        if len(self._made) >= self._settings.largest_made:
            self.crowded_out += 1
            raise UnreachableError(f"no connection to {target.address}: too many are open")
        carrier = self._carrier_to(target)
        carrier.attach(_Noting(self._inputs, self._made, self._used))
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                path = await carrier.connect(target.transport, local, target.address)
        except BaseException as error:
            self._end(carrier)
            if isinstance(error, TimeoutError):
                raise UnreachableError(f"no connection to {target.address} in time") from None
            raise
        self._made[path] = carrier
        self._used[path] = self._loop.time()
        if isinstance(carrier, TlsConnections) and self._securing.verify:
            self._identify(path, carrier.session(path))
        return path

    def _identify(self, path: Path, session: TlsSession) -> None:
        domains = self._securing.domains_of(session)
        if domains:
            self._on_identified(path, domains)

    def _carrier_to(self, target: Target) -> _Carrier:
        match target.transport:
            case Transport.TCP:
                return StreamConnections(_FROM_SERVERS)
            case Transport.TLS:
                return self._tls_to(target, _FROM_SERVERS)
            case Transport.WS:
                return self._websocket_to(target, StreamConnections(Chunks))
            case Transport.WSS:
                return self._websocket_to(target, self._tls_to(target, Chunks))
            case other:
                raise UnreachableError(f"cannot connect to {target.address} over {other.upper()}")

    def _tls_to(self, target: Target, framing: Callable[[], StreamFraming]) -> TlsConnections:
        client = self._securing.client(target.tls_name or target.host)
        return TlsConnections(framing, client=client)

    def _websocket_to(self, target: Target, beneath: StreamConnections) -> WebSocketConnections:
        host = target.tls_name or target.host
        return WebSocketConnections(beneath, host=host, on_pong=self._on_pong)

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`open` made."""
        self._carrier(path).start(path)

    def send(self, transmit: Transmit) -> None:
        """Write a message; one for a connection that is gone is dropped."""
        self._carrier(transmit.path).send(transmit)

    def ping(self, path: Path, payload: bytes) -> None:
        """Send a WebSocket's ping; ``on_pong`` is told of the answer."""
        carrier = self._carrier(path)
        if isinstance(carrier, WebSocketConnections):
            carrier.ping(path, payload)

    def close_path(self, path: Path) -> None:
        """Close a connection after what was sent on it."""
        self._carrier(path).close_path(path)

    async def aclose(self) -> None:
        """Accept no more, close every connection, and wait until they are gone."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        await asyncio.gather(*[each.aclose() for each in self._listeners])
        carriers = [*self._come.values(), *self._made.values()]
        await asyncio.gather(*[each.aclose() for each in carriers], *self._ending)

    def _carrier(self, path: Path) -> _Carrier:
        made = self._made.get(path)
        # Not its truth: a carrier without connections is false.
        return self._come[path.transport] if made is None else made

    def _end(self, carrier: _Carrier) -> None:
        """See a connection off that came to nothing."""
        task = self._loop.create_task(carrier.aclose())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _sweep(self) -> None:
        settings = self._settings
        interval = min(settings.message_timeout, settings.idle, settings.idle_made) / _SWEEPS
        while True:
            await asyncio.sleep(interval)
            self._close_overdue(self._loop.time())

    def _close_overdue(self, now: float) -> None:
        settings = self._settings
        for carrier in self._come.values():
            for path, since in carrier.unfinished().items():
                if since <= now - settings.message_timeout:
                    self.overdue += 1
                    carrier.close_path(path)
            for path, last in carrier.last_messages().items():
                if last <= now - settings.idle:
                    carrier.close_path(path)
        for path, used in tuple(self._used.items()):
            if used <= now - settings.idle_made:
                self.close_path(path)


class _Noting:
    """Tells the driver, and notes which of our connections are used, and which ended."""

    def __init__(
        self, inputs: Inputs, carriers: dict[Path, _Carrier], used: dict[Path, float]
    ) -> None:
        self._inputs = inputs
        self._carriers = carriers
        self._used = used
        self._time = asyncio.get_running_loop().time
        self.many = inputs.many

    def receive(self, data: bytes, path: Path) -> None:
        """A message came; the answer to a ping is no use of it."""
        if data not in (PING, PONG):
            self._used[path] = self._time()
        self._inputs.receive(data, path)

    def disconnected(self, path: Path) -> None:
        """A connection of ours ended."""
        self._carriers.pop(path, None)
        self._used.pop(path, None)
        self._inputs.disconnected(path)
