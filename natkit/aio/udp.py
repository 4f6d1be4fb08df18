"""UDP sockets for a driver, read and written in batches where the system can."""

import asyncio
import logging
import socket
import threading

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.system_errors import unreachable
from natkit.errors import MisuseError
from natkit.machine import Path, Transmit, Transport
from natkit.net import sockaddr
from natkit.net.batch import DatagramBatch, DatagramSocket, datagram_batch
from natkit.net.routes import source_for

__all__ = ["DatagramSockets", "bind_udp", "source_address"]

_log = logging.getLogger(__name__)

RECEIVE_BUFFER = 1 << 20
"""Bytes that the system is asked to hold: what arrives while the loop is busy elsewhere.  It may
grant less."""

_thread = threading.local()

# Where the system takes it with the socket's type, that saves a call for each socket.
_NON_BLOCKING: int = getattr(socket, "SOCK_NONBLOCK", 0)


class DatagramSockets:
    """The datagram sockets of one driver; a :class:`natkit.aio.driver.DatagramCarrier`.

    One wake-up reads at most one batch of one socket, so no flooder keeps the others waiting.
    Datagrams leave at :meth:`flush`, a batch a system call.  An error of the path or of a peer,
    ICMP's included, loses the datagram that it belongs to and nothing else.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inputs: Inputs | None = None
        self._sockets: dict[Address, DatagramSocket] = {}
        self._outgoing: dict[Address, list[tuple[bytes, Address]]] = {}

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``; until then datagrams wait in the system's buffers."""
        if self._inputs is None:
            for local, sock in self._sockets.items():
                self._loop.add_reader(sock.fileno(), self._read, local, sock)
        self._inputs = inputs

    def open(self, local: Address, *, shared: bool = False) -> Address:
        """Bind a socket to ``local``, port 0 for any; the address that it got.

        ``shared``: others may have the same port, for what is sent to groups.  Raises
        UnreachableError.
        """
        return self.adopt(bind_udp(local, shared=shared))

    def adopt(self, bound_socket: socket.socket) -> Address:
        """Take over a non-blocking socket that is bound; its address."""
        sock = DatagramSocket(bound_socket, _batch_of_this_thread())
        bound = sock.local
        self._sockets[bound] = sock
        if self._inputs is not None:
            self._loop.add_reader(sock.fileno(), self._read, bound, sock)
        return bound

    def close_socket(self, local: Address) -> None:
        """Close the socket that is bound to ``local``, after what was sent from it."""
        sock = self._sockets.get(local)
        if sock is None:
            return
        self._write(local)
        del self._sockets[local]
        if self._inputs is not None:
            self._loop.remove_reader(sock.fileno())
        sock.close()

    def send(self, transmit: Transmit) -> None:
        """Queue a datagram for :meth:`flush`."""
        path = transmit.path
        if path.local.family is not path.remote.family:
            _log.warning("cannot send from UDP %s to %s", path.local, path.remote)
            return
        self._outgoing.setdefault(path.local, []).append((transmit.data, path.remote))

    def flush(self) -> None:
        """Send what was queued."""
        while self._outgoing:
            self._write(next(iter(self._outgoing)))

    def close(self) -> None:
        """Close every socket."""
        for local in tuple(self._sockets):
            self.close_socket(local)
        self._outgoing.clear()

    def _read(self, local: Address, sock: DatagramSocket) -> None:
        inputs = self._inputs
        if inputs is None:
            return
        try:
            received = sock.receive()
        except OSError as error:
            _log.warning("cannot receive on UDP %s: %s", local, error)
            return
        with inputs.many():
            for data, remote in received:
                # An earlier datagram of the batch may have made the machine close this socket.
                if self._sockets.get(local) is not sock:
                    return
                inputs.receive(data, Path(Transport.UDP, local, remote))

    def _write(self, local: Address) -> None:
        datagrams = self._outgoing.pop(local, None)
        sock = self._sockets.get(local)
        if datagrams is None or sock is None:
            return
        try:
            sock.send(datagrams)
        except (OSError, MisuseError) as error:
            _log.warning("cannot send from UDP %s: %s", local, error)


def bind_udp(
    local: Address,
    *,
    receive_buffer: int | None = RECEIVE_BUFFER,
    reuse_port: bool = False,
    shared: bool = False,
) -> socket.socket:
    """A non-blocking UDP socket bound to ``local``; UnreachableError when that can't be had.

    With ``receive_buffer`` None the system's own size is kept.  With ``reuse_port`` others of this
    user may bind the same address if they say so too, and the system spreads the flows.  ``shared``
    as in :meth:`DatagramSockets.open`.
    """
    family = socket.AF_INET6 if ":" in local.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | _NON_BLOCKING)
    except OSError as error:
        raise unreachable("open a UDP socket", error) from error
    try:
        if not _NON_BLOCKING:
            sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(sockaddr.python_address(local))
    except OSError as error:
        sock.close()
        raise unreachable(f"bind UDP {local}", error) from error
    return sock


def source_address(remote: Address) -> Address:
    """The local address, with port 0, from which the system would send to ``remote``.

    Sends nothing.  Raises UnreachableError when there is no route.
    """
    try:
        return source_for(remote)
    except OSError as error:
        raise unreachable(f"reach {remote}", error) from error


def _batch_of_this_thread() -> DatagramBatch:
    """The memory that all sockets of a thread work in, one after the other."""
    batch: DatagramBatch | None = getattr(_thread, "batch", None)
    if batch is None:
        batch = _thread.batch = datagram_batch()
    return batch
