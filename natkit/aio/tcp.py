"""TCP connections that carry framed messages, for a driver.

Back-pressure.  What a connection's peer does not read is kept up to :data:`LARGEST_BACKLOG` bytes.
Above :data:`PAUSE_READING_ABOVE` the peer is not read from any more, so that it can't pile up
answers that it never collects; beyond the limit the connection is cut.  Messages that may be lost,
relayed datagrams above all, are given to :meth:`StreamConnections.offer`, which drops them above
:data:`DROP_ABOVE` already and so never comes near either.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeVar, cast

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.proxy_client import connect_through
from natkit.aio.system_errors import unreachable
from natkit.errors import LocateError, MalformedMessage, UnreachableError
from natkit.machine import (
    HoldingFraming,
    Path,
    SharedFraming,
    StreamFraming,
    Transmit,
    Transport,
    UnfinishedFraming,
)
from natkit.net import sockaddr
from natkit.net.proxy import Proxy

__all__ = [
    "DROP_ABOVE",
    "LARGEST_BACKLOG",
    "PAUSE_READING_ABOVE",
    "Detached",
    "StreamConnections",
    "Taker",
    "bind_tcp",
]

P = TypeVar("P", bound=asyncio.BaseProtocol)

Taker = Callable[[Path, bytes], int]
"""A connection's :attr:`natkit.machine.SharedFraming.taker`, with its path."""

_log = logging.getLogger(__name__)

DROP_ABOVE = 128 * 1024
"""Bytes unread by the peer above which datagrams for it are dropped: a second of video."""

PAUSE_READING_ABOVE = 256 * 1024
"""Bytes unread by the peer above which it is not read from."""

LARGEST_BACKLOG = 1024 * 1024
"""Bytes unread by the peer beyond which its connection is cut."""

CONNECT_TIMEOUT = 10.0
"""Seconds until a connection attempt fails; two retransmissions of a lost SYN fit in."""

LINGER = 2.0
"""Seconds that a closed connection may still take to write what was sent on it."""

BACKLOG = 1024
"""Connections that the system completes before they are accepted."""


@dataclass(frozen=True, slots=True)
class Detached:
    """A connection that carries messages no longer; it is not read from.

    ``rest`` is what was read after the last message.  Whoever takes it sets ``lost`` when it is
    over, for those who count connections.
    """

    transport: asyncio.Transport
    rest: bytes
    lost: asyncio.Future[None]


class _Connection(asyncio.Protocol):
    """One connection: of a listener, which has an ``accept``, or made by us.

    ``remote`` is its client where that is not who the socket is connected to.
    """

    def __init__(
        self,
        owner: "StreamConnections",
        accept: Callable[[Path], bool] | None,
        remote: Address | None = None,
    ) -> None:
        self.remote = remote
        self.path: Path | None = None
        self.lost: asyncio.Future[None] = owner.loop.create_future()
        self.last_message = owner.loop.time()
        self.started = accept is not None
        self._owner = owner
        self._accept = accept
        self._framing = owner.framing()
        self._telling = self._framing if isinstance(self._framing, UnfinishedFraming) else None
        self.unfinished_since = self.last_message if self.started else None
        self._holding = self._framing if isinstance(self._framing, HoldingFraming) else None
        self.transport: asyncio.Transport

    @property
    def is_open(self) -> bool:
        return not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=PAUSE_READING_ABOVE)
        if not self.started:
            transport.pause_reading()
        self.path = self._owner.made(self, transport, self._accept)
        if self.path is None:
            transport.abort()
        elif isinstance(self._framing, SharedFraming) and self._owner.taker is not None:
            self._framing.taker = partial(self._take, self._owner.taker, self.path)

    def _take(self, taker: Taker, path: Path, data: bytes) -> int:
        taken = taker(path, data)
        if taken:
            self.last_message = self._owner.loop.time()
        return taken

    def data_received(self, data: bytes) -> None:
        self._deliver(lambda: self._framing.receive(data))

    def _deliver(self, cut: Callable[[], Sequence[bytes]]) -> None:
        try:
            messages = cut()
        except MalformedMessage as error:
            self._owner.unframeable += 1
            _log.debug("stream of %s cut: %s", self.path, error)
            self.transport.abort()
            return
        if messages or self.unfinished_since is None:
            amid = self._telling is not None and self._telling.is_unfinished
            self.unfinished_since = self._owner.loop.time() if amid else None
        if self.is_held and self.transport.is_reading():
            self.transport.pause_reading()
        inputs = self._owner.inputs
        if not messages or self.path is None or inputs is None:
            return
        self.last_message = self._owner.loop.time()
        with inputs.many():
            for message in messages:
                # The machine may have closed the path after an earlier message.
                if not self.is_open:
                    return
                inputs.receive(message, self.path)

    def pause_writing(self) -> None:
        if self.started and self.transport.is_reading():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.started and self.is_open and not (self.is_held or self.transport.is_reading()):
            self.transport.resume_reading()

    @property
    def is_held(self) -> bool:
        return self._holding is not None and self._holding.is_held

    def resume(self) -> None:
        """The request that could have turned the connection over was answered, and did not."""
        if self._holding is None or not self._holding.is_held or not self.is_open:
            return
        self._deliver(self._holding.resume)
        if not self.is_held and self.transport.get_write_buffer_size() <= PAUSE_READING_ABOVE:
            self.resume_writing()

    def take_rest(self) -> bytes:
        """What was read and is no message's."""
        if self._holding is None:
            return b""
        rest = self._holding.take_rest()
        self._holding = None
        return rest

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        self.lost.set_result(None)
        if self.started:
            self._owner.gone(self)

    def start(self) -> None:
        if self.started:
            return
        self.started = True
        if self.lost.done():
            self._owner.gone(self)
        elif self.is_open:
            self.transport.resume_reading()


class StreamConnections:
    """The connections of one driver; a :class:`natkit.aio.driver.StreamCarrier`.

    ``framing`` makes what cuts each connection's bytes into messages.  The end of a connection is
    told once, whoever brought it about.  What it connects to is reached through ``proxy``, if there
    is one, which then chooses the local address.  :class:`natkit.aio.tls.TlsConnections` puts TLS
    beneath.
    """

    speaks: ClassVar[Transport] = Transport.TCP

    def __init__(
        self,
        framing: Callable[[], StreamFraming],
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        proxy: Proxy | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.framing = framing
        self.inputs: Inputs | None = None
        self.taker: Taker | None = None
        """Who may take messages of the connections made from now on before ``inputs`` has them."""
        self.unframeable = 0
        """Connections cut because their bytes could not be framed."""
        self.connect_timeout = connect_timeout
        self.proxy = proxy
        self._connections: dict[Path, _Connection] = {}
        self._servers: list[asyncio.Server] = []
        self._lingering: set[asyncio.Task[None]] = set()

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``; connections made before that are started."""
        self.inputs = inputs
        for connection in tuple(self._connections.values()):
            connection.start()

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    async def connect(self, transport: Transport, local: Address | None, remote: Address) -> Path:
        """Connect; raises UnreachableError, after the time limit at the latest."""
        doing = f"connect to {remote} over {transport.upper()}"
        if transport is not self.speaks:
            raise UnreachableError(
                f"cannot {doing}: this program speaks {self.speaks.upper()} only"
            )
        try:
            async with asyncio.timeout(self.connect_timeout):
                sock = await self._reach(local, remote)
        except (UnreachableError, LocateError, MalformedMessage) as error:
            raise UnreachableError(f"cannot {doing}: {error}") from error
        except OSError as error:
            raise unreachable(doing, error) from error
        try:
            # Behind a proxy the socket's peer is the proxy, and the path's is the server.
            far = None if self.proxy is None else remote
            connection = await self.open_stream(lambda: _Connection(self, None, far), sock, doing)
        except UnreachableError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            raise unreachable(doing, error) from error
        except BaseException:
            sock.close()
            raise
        if connection.path is None:
            raise UnreachableError(f"cannot {doing}: the connection ended at once")
        return connection.path

    async def _reach(self, local: Address | None, remote: Address) -> socket.socket:
        """A socket that is connected to ``remote``; raises OSError and NatkitErrors."""
        if self.proxy is not None:
            return await connect_through(self.proxy, remote)
        sock = socket.socket(remote.family.socket_family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if local is not None:
                # One port may have a connection to each of several servers.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(sockaddr.to_python(sockaddr.pack(local)))
            await self.loop.sock_connect(sock, sockaddr.to_python(sockaddr.pack(remote)))
        except BaseException:
            sock.close()
            raise
        return sock

    async def open_stream(
        self,
        protocol: Callable[[], P],
        sock: socket.socket,
        doing: str,  # noqa: ARG002 - for what is put beneath, to say what it failed at
    ) -> P:
        """Make a stream of a connected socket; raises UnreachableError or OSError."""
        _, made = await self.loop.create_connection(protocol, sock=sock)
        return made

    async def open_server(
        self, protocol: Callable[[], asyncio.BaseProtocol], sock: socket.socket
    ) -> asyncio.Server:
        """Accept streams on a bound socket."""
        return await self.loop.create_server(protocol, sock=sock, backlog=BACKLOG)

    def start(self, path: Path) -> None:
        """Begin to deliver what arrives on a connection that :meth:`connect` made."""
        connection = self._connections.get(path)
        if connection is not None:
            connection.start()

    async def listen(
        self, sock: socket.socket, accept: Callable[[Path], bool] = lambda _: True
    ) -> None:
        """Accept connections on a bound socket, which now belongs to this carrier.

        ``accept`` is asked for each; one that it declines is reset.
        """
        self._servers.append(await self.open_server(lambda: _Connection(self, accept), sock))

    def stop_listening(self) -> None:
        """Accept no more; connections that are there stay."""
        for server in self._servers:
            server.close()

    async def adopt(self, sock: socket.socket, remote: Address) -> asyncio.Future[None]:
        """Serve a connection that somebody else accepted, whose client is ``remote``.

        Gives what is done when the connection has ended.  Raises UnreachableError, or OSError.
        """
        connection = _Connection(self, lambda _: True, remote)
        await self.open_accepted(connection, sock, f"serve {remote}")
        return connection.lost

    async def open_accepted(
        self,
        protocol: asyncio.BaseProtocol,
        sock: socket.socket,
        doing: str,  # noqa: ARG002 - for what is put beneath, to say what it failed at
    ) -> None:
        """Make a stream of an accepted socket; raises UnreachableError or OSError."""
        await self.loop.connect_accepted_socket(lambda: protocol, sock)

    def made(
        self,
        connection: _Connection,
        transport: asyncio.Transport,
        accept: Callable[[Path], bool] | None,
    ) -> Path | None:
        """Take a connection in; None when it is not wanted, or gone already."""
        names = (transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
        if not all(names):
            return None
        local, remote = (sockaddr.unpack(sockaddr.from_python(name)) for name in names)
        path = Path(self.speaks, local, connection.remote or remote)
        # Two balancers may name one client's address to one port of ours at a time.
        if path in self._connections or (accept is not None and not accept(path)):
            return None
        self._connections[path] = connection
        if accept is not None:
            self.accepted(path)
        return path

    def accepted(self, path: Path) -> None:
        """A connection was accepted, for what is put beneath to look at before anything comes."""

    # ── sending and closing ─────────────────────────────────────────────────────────────────────

    def send(self, transmit: Transmit) -> None:
        """Write a message; the connection of a peer that reads nothing is cut in the end."""
        connection = self._connections.get(transmit.path)
        if connection is None or not connection.is_open:
            return
        backlog = connection.transport.get_write_buffer_size()
        if backlog + len(transmit.data) > LARGEST_BACKLOG:
            _log.info("stream of %s cut: %d bytes unread by its peer", transmit.path, backlog)
            connection.transport.abort()
            return
        connection.transport.write(transmit.data)
        if connection.is_held:
            # Later: what was sent may be followed by `detach`.
            self.loop.call_soon(self._resume, connection)

    def _resume(self, connection: _Connection) -> None:
        if connection.path is not None and self._connections.get(connection.path) is connection:
            connection.resume()

    def detach(self, path: Path) -> Detached | None:
        """Give a connection away; None when it is not there, or is ending.

        Nobody is told of its end any more.  What was sent on it has been written before anything
        that the taker writes.
        """
        connection = self._connections.get(path)
        if connection is None or not connection.is_open or not connection.started:
            return None
        del self._connections[path]
        if connection.transport.is_reading():
            connection.transport.pause_reading()
        return Detached(connection.transport, connection.take_rest(), connection.lost)

    def offer(self, path: Path, data: bytes) -> bool:
        """Write a message that may be lost, unless the peer is behind with reading."""
        connection = self._connections.get(path)
        if connection is None or not connection.is_open:
            return False
        if connection.transport.get_write_buffer_size() > DROP_ABOVE:
            return False
        connection.transport.write(data)
        return True

    def close_path(self, path: Path) -> None:
        """Close after what was sent, within :data:`LINGER` seconds."""
        connection = self._connections.get(path)
        if connection is None or not connection.is_open:
            return
        if not connection.started:
            # Nobody was told of it, and nobody is told of its end.
            del self._connections[path]
            connection.transport.abort()
            return
        unwritten = connection.transport.get_write_buffer_size() > 0
        connection.transport.close()
        if unwritten:
            task = self.loop.create_task(_linger(connection))
            self._lingering.add(task)
            task.add_done_callback(self._lingering.discard)

    def known_of(self, path: Path, name: str) -> object:
        """What the loop knows of a connection by that name, ``ssl_object`` say, or None."""
        connection = self._connections.get(path)
        return None if connection is None else connection.transport.get_extra_info(name)

    def last_messages(self) -> dict[Path, float]:
        """Each open path, and the loop's time of its last whole message or else its beginning."""
        return {path: held.last_message for path, held in self._connections.items()}

    def unfinished(self) -> dict[Path, float]:
        """Each path on which a message began that has not ended, and the loop's time of that.

        So for a connection that was accepted and brought none yet; and beyond that for a framing
        that tells (:class:`natkit.machine.UnfinishedFraming`).
        """
        return {
            path: held.unfinished_since
            for path, held in self._connections.items()
            if held.unfinished_since is not None and held.is_open
        }

    def __len__(self) -> int:
        return len(self._connections)

    def gone(self, connection: _Connection) -> None:
        """A connection ended."""
        path = connection.path
        if path is None or self._connections.get(path) is not connection:
            return
        del self._connections[path]
        if self.inputs is not None:
            self.inputs.disconnected(path)

    async def aclose(self) -> None:
        """Stop accepting, close all connections, wait until they are gone."""
        for server in self._servers:
            server.close()
        held = tuple(self._connections.values())
        for connection in held:
            connection.transport.close()
        await asyncio.gather(*(_linger(connection) for connection in held), *self._lingering)
        self._connections.clear()
        for server in self._servers:
            await server.wait_closed()
        # Connections that were not wanted end in the loop's next round.
        await asyncio.sleep(0)


def bind_tcp(local: Address, *, listen: bool = False, reuse_port: bool = False) -> socket.socket:
    """A non-blocking TCP socket bound to ``local``; UnreachableError when that can't be had.

    With ``listen`` nobody else can listen there from now on, and connections wait to be accepted.
    With ``reuse_port`` others of this user can if they say so too, and the system spreads the
    connections.
    """
    try:
        sock = socket.socket(local.family.socket_family, socket.SOCK_STREAM)
    except OSError as error:
        raise unreachable("open a TCP socket", error) from error
    try:
        sock.setblocking(False)
        # Connections of an earlier run that linger in TIME-WAIT don't hold the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if local.family.socket_family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockaddr.to_python(sockaddr.pack(local)))
        if listen:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise unreachable(f"bind TCP {local}", error) from error
    return sock


async def _linger(connection: _Connection) -> None:
    try:
        async with asyncio.timeout(LINGER):
            await asyncio.shield(connection.lost)
    except TimeoutError:
        connection.transport.abort()
        await connection.lost
