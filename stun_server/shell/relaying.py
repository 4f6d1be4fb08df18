"""The relay plane as the datagram carrier of the server's driver."""

import socket
from collections.abc import Callable, Iterable

from natkit.address import Address
from natkit.aio.driver import Inputs
from natkit.aio.udp import bind_udp
from natkit.errors import MisuseError
from natkit.machine import Path, Transmit
from natkit.net.icmp import IcmpError
from natkit.relay.plane import RelayPlane
from natkit.stun.attributes import Icmp
from stun_server.events import UnfragmentedTransmit

__all__ = ["PlaneSockets"]


class PlaneSockets:
    """Sends the machine's datagrams through the plane, and gives it what the plane leaves.

    A :class:`~natkit.aio.driver.DatagramCarrier`.  Sockets that the machine asks for are held here
    until an allocation takes them; from then on the plane owns them.  ``on_icmp`` takes the errors
    that met what left a relayed address, and the path.
    """

    def __init__(self, on_icmp: Callable[[Icmp, Path], None]) -> None:
        self.unfragmented = 0
        """Datagrams that were to leave with Don't Fragment."""
        self._on_icmp = on_icmp
        self._plane: RelayPlane | None = None
        self._inputs: Inputs | None = None
        self._held: dict[Address, socket.socket] = {}
        self._listeners: frozenset[Address] = frozenset()
        self._for_clients: list[Transmit] = []

    def use(self, plane: RelayPlane, listeners: Iterable[Address]) -> None:
        """The plane that everything goes through, and where its clients come in."""
        self._plane = plane
        self._listeners = frozenset(listeners)

    def attach(self, inputs: Inputs) -> None:
        """Where datagrams go that the plane leaves to the machine."""
        self._inputs = inputs

    def unhandled(self, data: bytes, path: Path, now: float) -> None:  # noqa: ARG002 - the driver reads the same clock
        """The plane's ``on_unhandled``."""
        if self._inputs is not None:
            self._inputs.receive(data, path)

    def icmp(self, error: IcmpError, path: Path, now: float) -> None:  # noqa: ARG002 - as above
        """The plane's ``on_icmp``."""
        icmp = Icmp(error.icmp_type, error.icmp_code, error.error_data)
        self._on_icmp(icmp, path)

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
        """Send to a peer at once, and keep what is for a client until :meth:`flush`.

        A client acts on an answer as soon as it has it, and the kernel may relay on another
        processor: the plane must know by then what was granted.
        """
        if transmit.path.local in self._listeners:
            self._for_clients.append(transmit)
        else:
            self._send(transmit)

    def flush(self) -> None:
        """Send what was kept."""
        if self._for_clients:
            kept, self._for_clients = self._for_clients, []
            for each in kept:
                self._send(each)

    def _send(self, transmit: Transmit) -> None:
        """What the system refuses is lost, and the plane's to count."""
        if self._plane is not None:
            unfragmented = isinstance(transmit, UnfragmentedTransmit)
            self.unfragmented += unfragmented
            self._plane.send(transmit.data, transmit.path, dont_fragment=unfragmented)

    def close(self) -> None:
        """Stop the plane, and close what is held."""
        self.flush()
        if self._plane is not None:
            self._plane.stop()
        for local in tuple(self._held):
            self.close_socket(local)
