"""The connections of an ICE agent: to TURN servers, each by its own name, and to the peer."""

import asyncio

from natkit.address import Address
from natkit.aio.driver import Inputs, StreamCarrier
from natkit.aio.secure import ALPN_TURN, Trust, client_streams
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.ice.framing import PacketFraming
from natkit.locate import Target
from natkit.machine import Path, Transmit, Transport
from natkit.net import sockaddr
from natkit.net.proxy import Proxy

__all__ = ["IceStreams"]

MOST_ACCEPTED = 64
"""Connections that peers may have open to one agent: whoever can reach a listener may connect."""


class IceStreams:
    """A :class:`natkit.aio.driver.StreamCarrier` made of several.

    Servers are reached through ``proxy``, if there is one, and believed as ``trust`` says; peers
    are reached directly, in packets framed by RFC 4571.
    """

    def __init__(self, trust: Trust, proxy: Proxy | None) -> None:
        self._trust = trust
        self._proxy = proxy
        self._peers = StreamConnections(PacketFraming)
        self._servers: dict[tuple[Transport, str], StreamCarrier] = {}
        self._by_path: dict[Path, StreamCarrier] = {}
        self._listeners: dict[Address, StreamConnections] = {}
        self._inputs: Inputs | None = None

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self._inputs = inputs
        self._peers.attach(inputs)

    async def connect_server(self, local: Address | None, target: Target) -> Path:
        """Connect to a TURN server; :meth:`start` delivers what it says.

        Raises UnreachableError, TlsFailed among it, and MisuseError for a trust that is unreadable.
        """
        place = target.transport, target.tls_name
        carrier = self._servers.get(place)
        if carrier is None:
            carrier = client_streams(target, (ALPN_TURN,), self._trust, self._proxy)
            if self._inputs is not None:
                carrier.attach(self._inputs)
            self._servers[place] = carrier
        path = await carrier.connect(target.transport, local, target.address)
        self._by_path[path] = carrier
        return path

    async def listen(self, local: Address) -> Address:
        """Accept the peer's connections; the address that was bound.  Raises UnreachableError."""
        sock = bind_tcp(local)
        bound = sockaddr.unpack(sockaddr.from_python(sock.getsockname()))
        listener = StreamConnections(PacketFraming)
        if self._inputs is not None:
            listener.attach(self._inputs)

        await listener.listen(sock, lambda _: len(listener) < MOST_ACCEPTED)
        self._listeners[bound] = listener
        return bound

    def stop_listening(self, local: Address) -> None:
        """Accept no more at ``local``; connections that are there stay."""
        listener = self._listeners.get(local)
        if listener is not None:
            listener.stop_listening()

    # ── the carrier ─────────────────────────────────────────────────────────────────────────────

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect to the peer."""
        return await self._peers.connect(transport, local, remote)

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that was made."""
        self._of(path).start(path)

    def send(self, transmit: Transmit) -> None:
        """Write a message."""
        self._of(transmit.path).send(transmit)

    def close_path(self, path: Path) -> None:
        """Close a connection after what was sent on it."""
        self._of(path).close_path(path)
        self._by_path.pop(path, None)

    async def aclose(self) -> None:
        """Close every connection and listener."""
        carriers = [self._peers, *self._servers.values(), *self._listeners.values()]
        await asyncio.gather(*(each.aclose() for each in carriers))

    def _of(self, path: Path) -> StreamCarrier:
        server = self._by_path.get(path)
        return server or self._listeners.get(path.local, self._peers)
