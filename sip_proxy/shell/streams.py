"""The connections of a proxy: whom it lets in, for how long, and by which certificate."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from natkit.aio.accepting import Admission, StreamListener
from natkit.aio.sip_streams import FROM_CLIENTS, SipStreams
from natkit.aio.tcp import StreamConnections
from natkit.aio.tls import TlsClient, TlsConnections, TlsSession
from natkit.aio.websocket import Chunks, WebSocketConnections
from natkit.errors import MisuseError, UnreachableError
from natkit.locate import Target
from natkit.machine import Path, Transport
from sip_proxy.shell.listening import Bound
from sip_proxy.shell.securing import Securing, TlsSettings

__all__ = ["StreamSettings", "Streams"]

_SWEEPS: Final = 4
"""Looks for connections that are overdue, within the shortest time limit."""


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


class Streams(SipStreams):
    """A :class:`~natkit.aio.driver.StreamCarrier`.

    ``on_identified`` is told the domains and the users that the peer of a connection speaks for by
    its certificate, before anything else of it.
    """

    def __init__(
        self,
        admission: Admission,
        settings: StreamSettings,
        *,
        on_identified: Callable[[Path, frozenset[str], frozenset[str]], None],
        on_pong: Callable[[Path, bytes], None],
    ) -> None:
        self._securing = Securing(settings.tls)
        self._on_identified = on_identified
        self._admission = admission
        self._settings = settings
        handshake = settings.handshake_timeout
        self._tcp = StreamConnections(FROM_CLIENTS)
        self._tls = TlsConnections(
            FROM_CLIENTS, on_accepted=self._identify_client, connect_timeout=handshake
        )
        self._beneath_wss = TlsConnections(Chunks, connect_timeout=handshake)
        super().__init__(
            client=self._client_for,
            come={
                Transport.TCP: self._tcp,
                Transport.TLS: self._tls,
                Transport.WS: self._websockets(StreamConnections(Chunks), on_pong),
                Transport.WSS: self._websockets(self._beneath_wss, on_pong),
            },
            connect_timeout=settings.connect_timeout,
            on_pong=on_pong,
        )
        self.overdue = 0
        """Connections closed since they finished no message in time."""
        self.crowded_out = 0
        """Connections not made since too many are open."""
        self._listeners: list[StreamListener] = []
        self._secure_with(self._securing)
        self._sweeper = self._loop.create_task(self._sweep())

    def _client_for(self, domain: str) -> TlsClient:
        # By the roots and the certificate that are in use now.
        return self._securing.client(domain)

    def _websockets(
        self, beneath: StreamConnections, on_pong: Callable[[Path, bytes], None]
    ) -> WebSocketConnections:
        return WebSocketConnections(beneath, origins=self._settings.origins, on_pong=on_pong)

    @property
    def securing(self) -> Securing:
        """The certificates in use."""
        return self._securing

    def renew(self, tls: TlsSettings) -> None:
        """Read the certificates again, for handshakes that begin later.

        ConfigError leaves those in use that were.
        """
        self.configure(replace(self._settings, tls=tls))

    def configure(self, settings: StreamSettings, securing: Securing | None = None) -> None:
        """Go by other settings from now on, but for origins and handshakes of clients.

        ``securing`` is what ``settings.tls`` comes to, where that has been read already.
        """
        if securing is None:
            securing = Securing(settings.tls)
        if securing.tls is None and self._tls.server is not None:
            raise MisuseError("listeners of TLS need a certificate")
        self._settings = settings
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

    async def open(self, target: Target) -> Path:
        """Connect to ``target``; UnreachableError, TlsFailed and UpgradeRefused among it."""
        if (
            len(self) + len(self._opening) >= self._settings.largest_made
            and target not in self._opening
        ):
            self.crowded_out += 1
            raise UnreachableError(f"no connection to {target.address}: too many are open")
        return await super().open(target)

    def opened(self, path: Path, session: TlsSession) -> None:
        """A TLS connection was made."""
        if self._securing.verify:
            self._identify(path, self._securing.domains_of(session))

    def _identify_client(self, path: Path, session: TlsSession) -> None:
        securing = self._securing
        self._identify(path, securing.domains_of(session), securing.users_of(session))

    def _identify(
        self, path: Path, domains: frozenset[str], users: frozenset[str] = frozenset()
    ) -> None:
        if domains or users:
            self._on_identified(path, domains, users)

    def counts(self) -> Counter[str]:
        """What became of connections that went wrong, by name."""
        found = Counter[str]()
        found["overdue connections"] = self.overdue
        found["crowded out connections"] = self.crowded_out
        found["refused connections"] = sum(each.refused for each in self._listeners)
        found["unframeable connections"] = self._tcp.unframeable + self._tls.unframeable
        return +found

    async def aclose(self) -> None:
        """Accept no more, close every connection, and wait until they are gone."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        await asyncio.gather(*[each.aclose() for each in self._listeners])
        await super().aclose()

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
        for path, used in tuple(self.used.items()):
            if used <= now - settings.idle_made:
                self.close_path(path)
