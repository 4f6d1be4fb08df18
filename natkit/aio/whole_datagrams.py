"""UDP sockets whose datagrams are never fragmented, for finding what a path carries."""

import asyncio
import contextlib
import socket

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.udp import bind_udp
from natkit.errors import UnreachableError
from natkit.machine import Path, Transmit, Transport
from natkit.net import icmp, sockaddr
from natkit.net.fragmentation import probe

__all__ = ["WholeDatagrams"]

LARGEST_DATAGRAM = 65_535
MOST_ERRORS = 100
"""ICMP errors that are taken at a time."""


class WholeDatagrams:
    """A :class:`natkit.aio.driver.DatagramCarrier`; one datagram a system call.

    What is too large for a link is lost, on this host as on the way.  ``told`` are the sizes that
    routers said they would take, in the order in which they said so.  Raises UnreachableError where
    the system cannot do it.
    """

    def __init__(self) -> None:
        self.told: list[int] = []
        self._loop = asyncio.get_running_loop()
        self._inputs: Inputs | None = None
        self._sockets: dict[Address, socket.socket] = {}

    def attach(self, inputs: Inputs) -> None:
        """From now on tell ``inputs``."""
        self._inputs = inputs

    def open(self, local: Address) -> Address:
        """Bind a socket; the address with the port it got.  Raises UnreachableError."""
        sock = bind_udp(local)
        try:
            probe(sock)
            if icmp.CAN_REPORT:
                icmp.report(sock)
        except OSError as error:
            sock.close()
            raise UnreachableError(f"no packets without fragments: {error}") from error
        host, port = sock.getsockname()[:2]
        bound = Address.of(host, port)
        self._sockets[bound] = sock
        self._loop.add_reader(sock.fileno(), self._read, bound, sock)
        return bound

    def close_socket(self, local: Address) -> None:
        """Close that socket, if it is there."""
        sock = self._sockets.pop(local, None)
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def send(self, transmit: Transmit) -> None:
        """Send at once; what can't be sent is dropped, as a router drops it."""
        sock = self._sockets.get(transmit.path.local)
        if sock is not None:
            with contextlib.suppress(OSError):
                icmp.send_to(sock, transmit.data, sockaddr.python_address(transmit.path.remote))
            self._take_errors(sock)

    def flush(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Close every socket."""
        for local in tuple(self._sockets):
            self.close_socket(local)

    def _read(self, local: Address, sock: socket.socket) -> None:
        self._take_errors(sock)
        try:
            data, remote = sock.recvfrom(LARGEST_DATAGRAM)
        except OSError:
            # Nothing, or the error that was just taken.
            return
        if self._inputs is not None:
            source = Address.of(*remote[:2])
            self._inputs.receive(data, Path(Transport.UDP, local, source))

    def _take_errors(self, sock: socket.socket) -> None:
        """While some are kept, the loop would find the socket ready without end."""
        if icmp.CAN_REPORT:
            for error in icmp.take(sock, MOST_ERRORS):
                if error.error_data and not error.is_of_this_host:
                    self.told.append(error.error_data)
