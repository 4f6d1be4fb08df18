"""A plane between real loopback sockets, driven by hand: what tests of the plane share."""

import random
import selectors
import socket
from collections.abc import Callable

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net.icmp import IcmpError
from natkit.relay.plane import BindingPolicy
from natkit.relay.userspace import UserspacePlane

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class HandReactor:
    """An event loop of which each turn is made by hand."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> None:
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int, /) -> None:
        self._selector.unregister(fd)

    @property
    def watched(self) -> int:
        return len(self._selector.get_map())

    @property
    def idle(self) -> bool:
        return not self._selector.select(0)

    def turn(self) -> None:
        """Call back until nothing is ready; loopback delivers at once, so nothing is under way."""
        while events := self._selector.select(0):
            for key, _ in events:
                if key.fd in self._selector.get_map():
                    key.data()

    def close(self) -> None:
        self._selector.close()


class Rig:
    """A plane, the sockets around it, and a clock that stands still until it is set."""

    def __init__(self, *, portable: bool = False, dscp: int = 0) -> None:
        self.now = 1_000.0
        self.reactor = HandReactor()
        self.elsewhere: set[Address] = set()
        self.icmp: list[tuple[IcmpError, Path]] = []
        self.unhandled: list[tuple[bytes, Path, float]] = []
        self.plane = UserspacePlane(
            self.reactor,
            lambda data, path, now: self.unhandled.append((data, path, now)),
            random=random.Random(7).randbytes,
            clock=lambda: self.now,
            portable=portable,
            dscp=dscp,
            on_icmp=lambda error, path, _: self.icmp.append((error, path)),
            relays_elsewhere=lambda address: address in self.elsewhere,
        )
        self._sockets: list[socket.socket] = []
        self._last_allocation = 0

    def new_socket(
        self, family: socket.AddressFamily = socket.AF_INET, host: str | None = None
    ) -> socket.socket:
        """A socket of a client or a peer."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.bind((host or LOOPBACK[family], 0))
        sock.setblocking(False)
        return sock

    def listen(
        self, family: socket.AddressFamily = socket.AF_INET, *, answer_binding: bool = True
    ) -> Address:
        """Let the plane listen on a new socket."""
        sock = self.new_socket(family)
        self.plane.listen(sock, BindingPolicy(answer_binding))
        return address_of(sock)

    def allocate(
        self,
        client: socket.socket,
        listener: Address,
        family: socket.AddressFamily = socket.AF_INET,
        *,
        until: float = 2_000.0,
    ) -> tuple[int, Address]:
        """Open an allocation for ``client``: its identifier and its relayed address."""
        path = Path(Transport.UDP, listener, address_of(client))
        relay = self.new_socket(family)
        self._last_allocation += 1
        self.plane.open(self._last_allocation, path, relay, until)
        return self._last_allocation, address_of(relay)

    def allocate_stream(
        self,
        client: Path,
        written: list[bytes],
        family: socket.AddressFamily = socket.AF_INET,
    ) -> tuple[int, Address]:
        """Open an allocation for a client on a stream."""
        relay = self.new_socket(family)
        self._last_allocation += 1
        self.plane.open(self._last_allocation, client, relay, 2_000.0, written.append)
        return self._last_allocation, address_of(relay)

    def turn(self) -> None:
        """Let the plane treat what waits."""
        self.reactor.turn()

    def close(self) -> None:
        self.plane.stop()
        assert self.reactor.watched == 0
        self.reactor.close()
        for sock in self._sockets:
            sock.close()


def address_of(sock: socket.socket) -> Address:
    """The address that a socket is bound to."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def received(sock: socket.socket) -> list[tuple[bytes, Address]]:
    """Everything that waits on a socket, and who sent it."""
    taken: list[tuple[bytes, Address]] = []
    while True:
        try:
            data, source = sock.recvfrom(70_000)
        except BlockingIOError:
            return taken
        taken.append((data, Address(*source[:2])))
