"""Connections that carry SIP, for a driver: TCP, TLS and WebSockets, accepted and made.

::

    streams = SipStreams(client=lambda domain: sip_client(domain, client_context()))
    path = await streams.open(target)
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.tcp import StreamConnections
from natkit.aio.tls import TlsClient, TlsConnections, TlsSession
from natkit.aio.websocket import Chunks, WebSocketConnections
from natkit.errors import MalformedMessage, MisuseError, TlsFailed, UnreachableError
from natkit.locate import Target
from natkit.machine import Path, StreamFraming, Transmit, Transport
from natkit.sip.certificate import CertificateNames, check_certificate
from natkit.sip.framing import PING, PONG, Expect, SipFraming
from natkit.sip.grammar import numeric_host

__all__ = ["FROM_CLIENTS", "Carrier", "SipStreams", "sip_client"]

Carrier = StreamConnections | WebSocketConnections

CONNECT_TIMEOUT: Final = 5.0
"""Seconds until a server counts as unreachable: there may be another one."""

# Who connected sends pings, and hears pongs (RFC 5626 §3.5.1).
FROM_CLIENTS: Final = partial(SipFraming, Expect.PINGS)
"""The framing of connections that were accepted."""
_FROM_SERVERS: Final = partial(SipFraming, Expect.PONGS)


def sip_client(domain: str, context: ssl.SSLContext, *, verify: bool = True) -> TlsClient:
    """How to connect to a server whose certificate must be for the SIP domain ``domain``.

    ``context`` judges the chain; names go by RFC 5922 §7, unless ``verify`` is False.
    """
    name = domain if domain and numeric_host(domain) is None else None
    if not verify:
        return TlsClient(name, context)
    return TlsClient(name, context, lambda session: _check(session, domain))


class SipStreams:
    """A :class:`~natkit.aio.driver.StreamCarrier`.

    ``come`` has the carriers of accepted connections by their transport; they belong to this one
    from now on.  Each connection that is made has a carrier to itself, for each asks for another
    name: ``client`` says how, for a domain.  ``on_pong`` is told of WebSockets' pongs.
    """

    def __init__(
        self,
        *,
        client: Callable[[str], TlsClient],
        come: Mapping[Transport, Carrier] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        on_pong: Callable[[Path, bytes], None] | None = None,
    ) -> None:
        self.connect_timeout = connect_timeout
        self.used: dict[Path, float] = {}
        """The loop's time of the last message on each connection that was made, pongs left out."""
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._come = dict(come or {})
        self._made: dict[Path, Carrier] = {}
        self._on_pong = on_pong
        self._opening: dict[Target, asyncio.Task[Path]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._inputs: Inputs | None = None

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self._inputs = inputs
        for carrier in self._come.values():
            carrier.attach(inputs)

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect to a server by its address alone; raises UnreachableError."""
        path, _ = await self._open(Target(transport, remote, remote.host, remote.host), local)
        return path

    async def open(self, target: Target) -> Path:
        """Connect to ``target``; UnreachableError, TlsFailed and UpgradeRefused among it.

        Those who ask at once for the same target get the same connection.
        """
        opening = self._opening.get(target)
        if opening is None:
            opening = self._opening[target] = self._loop.create_task(self._open_once(target))
            opening.add_done_callback(lambda _: self._opening.pop(target))
        # Who gives up waiting leaves the attempt to the others.
        return await asyncio.shield(opening)

    async def _open_once(self, target: Target) -> Path:
        path, session = await self._open(target, None)
        if session is not None:
            self.opened(path, session)
        return path

    def opened(self, path: Path, session: TlsSession) -> None:
        """A TLS connection was made, for a subclass that wants to know to whom."""

    async def _open(self, target: Target, local: Address | None) -> tuple[Path, TlsSession | None]:
        if self._inputs is None:
            raise MisuseError("nobody is told of connections yet")
        carrier = self._carrier_to(target)
        carrier.attach(_Noting(self._inputs, self._made, self.used))
        try:
            async with asyncio.timeout(self.connect_timeout):
                path = await carrier.connect(target.transport, local, target.address)
        except BaseException as error:
            self._end(carrier)
            if isinstance(error, TimeoutError):
                raise UnreachableError(f"no connection to {target.address} in time") from None
            raise
        self._made[path] = carrier
        self.used[path] = self._loop.time()
        return path, carrier.session(path) if isinstance(carrier, TlsConnections) else None

    def _carrier_to(self, target: Target) -> Carrier:
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
        return TlsConnections(framing, client=self._client(target.tls_name or target.host))

    def _websocket_to(self, target: Target, beneath: StreamConnections) -> WebSocketConnections:
        host = target.tls_name or target.host
        return WebSocketConnections(beneath, host=host, on_pong=self._on_pong)

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`open` made."""
        self._carrier(path).start(path)

    def send(self, transmit: Transmit) -> None:
        """Write a message; one for a connection that is gone is dropped."""
        carrier = self._made.get(transmit.path)
        if carrier is None:
            carrier = self._come.get(transmit.path.transport)
        if carrier is not None:
            carrier.send(transmit)

    def ping(self, path: Path, payload: bytes) -> None:
        """Send a WebSocket's ping; ``on_pong`` is told of the answer."""
        carrier = self._carrier(path)
        if isinstance(carrier, WebSocketConnections):
            carrier.ping(path, payload)

    def close_path(self, path: Path) -> None:
        """Close a connection after what was sent on it."""
        self._carrier(path).close_path(path)

    async def aclose(self) -> None:
        """Close every connection, and wait until they are gone."""
        opening = tuple(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        carriers = [*self._come.values(), *self._made.values()]
        await asyncio.gather(*[each.aclose() for each in carriers], *self._ending)

    def __len__(self) -> int:
        """How many were made."""
        return len(self._made)

    def _carrier(self, path: Path) -> Carrier:
        made = self._made.get(path)
        # Not its truth: a carrier without connections is false.
        return self._come[path.transport] if made is None else made

    def _end(self, carrier: Carrier) -> None:
        """See a connection off that came to nothing."""
        task = self._loop.create_task(carrier.aclose())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Noting:
    """Tells the driver, and notes which of our connections are used, and which ended."""

    def __init__(
        self, inputs: Inputs, carriers: dict[Path, Carrier], used: dict[Path, float]
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


def _check(session: TlsSession, domain: str) -> None:
    """RFC 5922 §7.3, by the domain that was asked for; raises TlsFailed."""
    try:
        names = CertificateNames.from_der(session.certificates[0])
        match = check_certificate(names, domain)
    except (MalformedMessage, MisuseError, IndexError) as error:
        raise TlsFailed(f"its certificate is not for {domain}: {error}") from error
    if not match.matches:
        raise TlsFailed(f"its certificate is not for {domain}: {match.reason}")
