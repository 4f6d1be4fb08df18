"""The relay plane as the datagram carrier of the server's driver."""

import socket

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.udp import bind_udp
from natkit.errors import MisuseError
from natkit.machine import Path, Transmit
from natkit.relay.plane import RelayPlane
from stun_server.events import UnfragmentedTransmit

__all__ = ["PlaneSockets"]


class PlaneSockets:
    """Sends the machine's datagrams through the plane, and gives it what the plane leaves.

    A :class:`~natkit.aio.driver.DatagramCarrier`.  Sockets that the machine asks for are held here
    until an allocation takes them; from then on the plane owns them.
    """

    def __init__(self) -> None:
        self._plane: RelayPlane | None = None
        self._inputs: Inputs | None = None
        self._held: dict[Address, socket.socket] = {}

    def use(self, plane: RelayPlane) -> None:
        """The plane that everything goes through."""
        self._plane = plane

    def attach(self, inputs: Inputs) -> None:
        """Where datagrams go that the plane leaves to the machine."""
        self._inputs = inputs

    def unhandled(self, data: bytes, path: Path, now: float) -> None:  # noqa: ARG002 - the driver reads the same clock
        """The plane's ``on_unhandled``."""
        if self._inputs is not None:
            self._inputs.receive(data, path)

    def open(self, local: Address) -> Address:
        """Bind a relay socket, exclusively; raises UnreachableError."""
        # The plane chooses the size of the buffers.
        sock = bind_udp(local, receive_buffer=None)
        bound = local if local.port else local._replace(port=sock.getsockname()[1])
        self._held[bound] = sock
        return bound

    def take(self, local: Address) -> socket.socket:
        """The held socket that an allocation now uses."""
        sock = self._held.pop(local, None)
        if sock is None:
            raise MisuseError(f"no socket is held on {local}")
        return sock

    def hold(self, local: Address, sock: socket.socket) -> None:
        """Hold a socket that comes from another worker, or goes to one."""
        self._held[local] = sock

    def close_socket(self, local: Address) -> None:
        """Close a held socket; those of allocations the plane has closed."""
        sock = self._held.pop(local, None)
        if sock is not None:
            sock.close()

    def send(self, transmit: Transmit) -> None:
        """Send at once; what the system refuses is lost, and the plane's to count."""
        if self._plane is not None:
            unfragmented = isinstance(transmit, UnfragmentedTransmit)
            self._plane.send(transmit.data, transmit.path, dont_fragment=unfragmented)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Stop the plane, and close what is held."""
        if self._plane is not None:
            self._plane.stop()
        for local in tuple(self._held):
            self.close_socket(local)
