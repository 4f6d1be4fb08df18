"""A TCP socket that accepts connections for one carrier or for two: plain, TLS, or either.

Before a connection is a carrier's, it may have to say whom it is from (PROXY) and what it speaks
(its first byte).  That, and the TLS handshake, is what each has a time limit for, and what only so
many may be at.
"""

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from natkit.address import Address, IPNetwork
from natkit.aio.proxy_protocol import read_proxy_header
from natkit.errors import MalformedMessage, MisuseError, UnreachableError
from natkit.machine import Path, Transport
from natkit.net import sockaddr

__all__ = ["GREETING", "GREETING_TIME", "Admission", "StreamListener", "TakesStreams"]

_log = logging.getLogger(__name__)

GREETING: Final = 1000
"""Connections of one listener that are not a carrier's yet.  More wait in the system's backlog."""

GREETING_TIME: Final = 10.0
"""Seconds that a connection has for its PROXY header and its first byte."""

_ACCEPT_AT_ONCE = 64
_PEEK = 2048
# Seconds without descriptors or memory until accepting is tried again.
_PAUSE = 1.0
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# RFC 8446 §5.1; a STUN message begins with 0 to 3, ChannelData with 64 to 79 (RFC 7983 §7).
_TLS_HANDSHAKE = 22


class Admission(Protocol):
    """Who may have a connection."""

    def admit(self, path: Path) -> bool:
        """Whether one more may be; each that may is released."""
        ...

    def release(self, path: Path) -> None:
        """An admitted one ended."""
        ...


class TakesStreams(Protocol):
    """A carrier that connections are given to."""

    async def adopt(self, sock: socket.socket, remote: Address) -> asyncio.Future[None]:
        """Serve a connection whose client is ``remote``; what is done when it has ended."""
        ...


class StreamListener:
    """Accepts on ``sock``, which listens and belongs to it from now on.

    With both ``plain`` and ``secure`` the first byte decides.  With ``proxies`` every connection
    must come from one of these networks and begin with a PROXY header, which says who the client
    is.
    """

    def __init__(
        self,
        sock: socket.socket,
        admission: Admission,
        *,
        plain: TakesStreams | None = None,
        secure: TakesStreams | None = None,
        proxies: Sequence[IPNetwork] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._local = sockaddr.unpack(sockaddr.from_python(sock.getsockname()))
        self._admission = admission
        # Not their truth: a carrier without connections is false.
        default = secure if plain is None else plain
        if default is None:
            raise MisuseError("nobody takes the connections")
        self._default = default
        self._secure = None if plain is None else secure
        self._proxies = proxies
        self.refused = 0
        """Connections that came from no proxy, or did not begin as they must."""
        self._greeting: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False
        self._resume()

    @property
    def greeting(self) -> int:
        """Connections that are not a carrier's yet."""
        return len(self._greeting)

    async def aclose(self) -> None:
        """Accept no more, and end those that are no carrier's yet."""
        self._closed = True
        self._stop()
        if self._pause is not None:
            self._pause.cancel()
        self._socket.close()
        for task in self._greeting:
            task.cancel()
        await asyncio.gather(*self._greeting, return_exceptions=True)

    # ── accepting ───────────────────────────────────────────────────────────────────────────────

    def _resume(self) -> None:
        self._pause = None
        if not (self._accepting or self._closed):
            self._accepting = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _stop(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._socket.fileno())

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if len(self._greeting) >= GREETING:
                self._stop()
                return
            try:
                sock, name = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                _log.warning("cannot accept on TCP %s: %s", self._local, error.strerror)
                self._stop()
                self._pause = self._loop.call_later(_PAUSE, self._resume)
                return
            sock.setblocking(False)
            remote = sockaddr.unpack(sockaddr.from_python(name))
            task = self._loop.create_task(self._greet(sock, remote))
            self._greeting.add(task)
            task.add_done_callback(self._greeted)

    def _greeted(self, task: asyncio.Task[None]) -> None:
        self._greeting.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._loop.call_exception_handler(
                {"message": f"a connection on TCP {self._local} met a defect", "exception": error}
            )
        if self._pause is None:
            self._resume()

    # ── one connection ──────────────────────────────────────────────────────────────────────────

    async def _greet(self, sock: socket.socket, remote: Address) -> None:
        try:
            if self._proxies is not None:
                if not any(remote.ip in network for network in self._proxies):
                    raise MalformedMessage("a connection past the proxies")
                async with asyncio.timeout(GREETING_TIME):
                    remote = await self._client(sock) or remote
            await self._welcome(sock, remote)
        except UnreachableError as error:
            # The carrier had it: an alert may be on its way.
            self._refuse(remote, error)
            sock.close()
        except (MalformedMessage, OSError, EOFError, TimeoutError) as error:
            self._refuse(remote, error)
            _reset(sock)
        except BaseException:
            sock.close()
            raise

    def _refuse(self, remote: Address, error: Exception) -> None:
        self.refused += 1
        _log.debug("connection of %s refused: %s", remote, str(error) or "too slow")

    async def _welcome(self, sock: socket.socket, remote: Address) -> None:
        path = Path(Transport.TCP, self._local, remote)
        if not self._admission.admit(path):
            _reset(sock)
            return
        try:
            carrier = self._default
            if self._secure is not None:
                async with asyncio.timeout(GREETING_TIME):
                    first = await self._peek(sock, 1)
                if first[0] == _TLS_HANDSHAKE:
                    carrier = self._secure
            ended = await carrier.adopt(sock, remote)
        except BaseException:
            self._admission.release(path)
            raise
        ended.add_done_callback(lambda _: self._admission.release(path))

    async def _client(self, sock: socket.socket) -> Address | None:
        """Take the PROXY header off the stream, and not a byte more."""
        taken = b""
        while True:
            seen = await self._peek(sock, _PEEK)
            header = read_proxy_header(taken + seen)
            if header is not None:
                sock.recv(header.length - len(taken))
                return header.client
            taken += sock.recv(len(seen))

    async def _peek(self, sock: socket.socket, size: int) -> bytes:
        """What is there to read, at least one byte; it stays there."""
        while True:
            try:
                seen = sock.recv(size, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable(sock)
                continue
            if not seen:
                raise EOFError("it ended")
            return seen

    async def _readable(self, sock: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        descriptor = sock.fileno()
        self._loop.add_reader(descriptor, _settle(ready))
        try:
            await ready
        finally:
            self._loop.remove_reader(descriptor)


def _settle(future: asyncio.Future[None]) -> Callable[[], None]:
    def settle() -> None:
        if not future.done():
            future.set_result(None)

    return settle


def _reset(sock: socket.socket) -> None:
    """Close at once, without waiting for anything that was not read."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
