"""A listener for HTTP or HTTPS that serves an application to a bounded number of connections."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Self

from aiohttp import web

from natkit.address import Address
from natkit.aio.tcp import bind_tcp
from natkit.errors import ConfigError, UnreachableError

__all__ = ["HttpListener"]

LARGEST_BODY = 16 * 1024
"""Bytes of a request's body: what pages and programs send here is a line."""
CONNECTIONS = 512
CONNECTIONS_PER_SOURCE = 64
CONNECTION_LIFETIME = 60.0
"""Seconds after which a connection takes no further request: nobody keeps one by being silent."""
REQUEST_LIMIT = 5.0
"""Seconds that its last request has from then on."""
STOP_LIMIT = 2.0
"""Seconds that requests under way have when the server stops."""


class HttpListener:
    """Made by :meth:`open`."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server, address: Address) -> None:
        self._runner = runner
        self._server = server
        self.address = address
        """Where it listens; the port is the one in use where 0 was asked for."""

    @classmethod
    async def open(
        cls,
        application: web.Application,
        address: Address,
        context: ssl.SSLContext | None = None,
        *,
        option: str,
    ) -> Self:
        """Serve there until :meth:`aclose`.

        ConfigError, which names ``option``, when the address can't be had.
        """
        try:
            sock = bind_tcp(address, listen=True)
        except UnreachableError as error:
            raise ConfigError(f"{option}: {error}; choose another address or port") from error
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=STOP_LIMIT)
        try:
            await runner.setup()
            assert runner.server is not None  # noqa: S101 - for the type: setup() makes it
            server = await asyncio.get_running_loop().create_server(
                _Connections(runner.server).accept, sock=sock, ssl=context
            )
        except BaseException:
            sock.close()
            await runner.cleanup()
            raise
        return cls(runner, server, address._replace(port=sock.getsockname()[1]))

    async def aclose(self) -> None:
        """Close it and end the requests under way."""
        self._server.close()
        await self._runner.cleanup()


class _Connections:
    """Makes the protocols of connections, as many as may be."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._by_source: Counter[str] = Counter()

    def accept(self) -> asyncio.Protocol:
        return _Connection(self._server(), self._enter, self._leave)

    def _enter(self, source: str) -> bool:
        if (
            self._by_source.total() >= CONNECTIONS
            or self._by_source[source] >= CONNECTIONS_PER_SOURCE
        ):
            return False
        self._by_source[source] += 1
        return True

    def _leave(self, source: str) -> None:
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]


class _Connection(asyncio.Protocol):
    """Stands in front of the HTTP protocol and lets it have the connection for a while."""

    def __init__(
        self,
        http: web.RequestHandler,
        enter: Callable[[str], bool],
        leave: Callable[[str], None],
    ) -> None:
        self._http = http
        self._enter = enter
        self._leave = leave
        self._source: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer: tuple[str, int] | None = transport.get_extra_info("peername")
        source = peer[0] if peer else ""
        if not self._enter(source):
            transport.close()
            return
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(CONNECTION_LIFETIME, self._end)
        self._http.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._source is None:
            return
        self._leave(self._source)
        if self._timer is not None:
            self._timer.cancel()
        self._http.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._source is not None:
            self._http.data_received(data)

    def eof_received(self) -> bool | None:
        if self._source is not None:
            self._http.eof_received()
        return None

    def _end(self) -> None:
        self._http.close()
        self._timer = self._loop.call_later(REQUEST_LIMIT, self._http.force_close)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()
