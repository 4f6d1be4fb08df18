"""A relayed TCP address: it listens, and connections to peers leave from it (RFC 6062 §5)."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from natkit.address import Address
from natkit.aio.system_errors import unreachable
from natkit.aio.tcp import bind_tcp
from natkit.machine import Path, Transport
from natkit.net import sockaddr

__all__ = ["BACKLOG", "PeerListener"]

_log = logging.getLogger(__name__)

BACKLOG: Final = 16
"""Peers that may wait to be accepted, which happens at once; more must try again."""

_ACCEPT_AT_ONCE = 16
# Seconds without descriptors or memory until accepting is tried again.
_PAUSE = 1.0
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class PeerListener:
    """Accepts connections at ``local``; ``on_peer`` takes each, unread, and owns it.

    Raises UnreachableError when the address can't be had.  Nobody else can listen there.
    """

    def __init__(self, local: Address, on_peer: Callable[[socket.socket, Path], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_peer = on_peer
        self._pause: asyncio.TimerHandle | None = None
        self._socket = bind_tcp(local)
        try:
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise unreachable(f"listen on TCP {local}", error) from error
        self.local = local._replace(port=self._socket.getsockname()[1])
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def outgoing(self) -> socket.socket:
        """A socket to connect to a peer from this address; raises UnreachableError."""
        doing = f"connect from TCP {self.local}"
        try:
            sock = socket.socket(self.local.family.socket_family, socket.SOCK_STREAM)
        except OSError as error:
            raise unreachable(doing, error) from error
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Where somebody listens another socket may be bound only if both allow it.  The one
            # that listens does so for this moment alone: other programs stay out.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                sock.bind(sockaddr.to_python(sockaddr.pack(self.local)))
            finally:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
        except OSError as error:
            sock.close()
            raise unreachable(doing, error) from error
        return sock

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if self._socket.fileno() < 0:
                return
            try:
                sock, name = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                _log.warning("cannot accept on TCP %s: %s", self.local, error.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._pause = self._loop.call_later(_PAUSE, self._resume)
                return
            sock.setblocking(False)
            remote = sockaddr.unpack(sockaddr.from_python(name))
            self._on_peer(sock, Path(Transport.TCP, self.local, remote))

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket.fileno(), self._accept)
