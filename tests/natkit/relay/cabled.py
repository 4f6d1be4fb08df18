"""A plane on a host of its own, between a host of clients and one of peers, on virtual cables.

All three are network namespaces of one process: sockets belong to the one where they were made.
"""

import os
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from pyroute2 import netns

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net.links import read_links
from natkit.relay.attaching import Attachment, Mode, allow_routes, attach, default_ttl
from natkit.relay.kernel import KernelPlane
from natkit.relay.kernel_buckets import KernelBuckets
from natkit.relay.kernel_tables import KernelRelay, KernelTables, TableSizes
from natkit.relay.libbpf import Link
from natkit.relay.plane import BindingPolicy, Gate
from natkit.relay.rates import Rates, TokenBucket
from natkit.relay.userspace import UserspacePlane
from tests.natkit.relay.rig import HandReactor, address_of
from tests.netlab.namespaces import Host, Lab, run

SMALL = TableSizes(halves=256, permissions=1024, channels=1024, buckets=64)
NOW = 1_000.0
PATIENCE = 20.0
IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
FAMILIES = [  # of a client and its peer
    pytest.param(client, peer, id=f"{client.name}-{peer.name}")
    for client in (IPV4, IPV6)
    for peer in (IPV4, IPV6)
]
CLIENTS = {IPV4: ("10.1.0.2",), IPV6: ("fd01::2",)}
PEERS = {IPV4: ("10.2.0.2", "10.2.0.3"), IPV6: ("fd02::2", "fd02::3")}
LISTENERS = {IPV4: "10.1.0.1", IPV6: "fd01::1"}
RELAYS = {IPV4: "10.2.0.1", IPV6: "fd02::1"}
MACS = {
    ("server", "clients"): "02:00:00:00:01:01",
    ("server", "peers"): "02:00:00:00:02:01",
    ("left", "eth0"): "02:00:00:00:01:02",
    ("right", "eth0"): "02:00:00:00:02:02",
}
XDP = (Mode.NATIVE, Mode.GENERIC)
_XDP_NATIVE = 1 << 2


@contextmanager
def inside(host: Host) -> Iterator[None]:
    """What this thread opens meanwhile belongs to ``host``."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        netns.setns(host.namespace)
        yield
    finally:
        netns.setns(home)
        os.close(home)


class Cabled:
    """The three hosts, and a plane on the middle one: the kernel's, where ``mode`` is given.

    Nobody has to ask for anybody's hardware address.  ``to_peers`` is the mode on the cable to the
    peers, if that is another one.
    """

    def __init__(
        self,
        lab: Lab,
        mode: Mode | None,
        *,
        dscp: int = 0,
        sizes: TableSizes = SMALL,
        to_peers: Mode | None = None,
    ) -> None:
        self.now = NOW
        self.sizes = sizes
        self.server, self.left, self.right = map(lab.host, ("server", "left", "right"))
        self._lay(lab, "clients", (self.left, "left"), LISTENERS, CLIENTS)
        self._lay(lab, "peers", (self.right, "right"), RELAYS, PEERS)
        self._sockets: list[socket.socket] = []
        self._links: list[Link | Attachment] = []
        self._buckets: dict[str, tuple[TokenBucket, TokenBucket]] = {}
        self._last = 0
        self.reactor = HandReactor()
        self.unhandled: list[tuple[bytes, Path]] = []
        self.full = 0
        self.tables: KernelTables | None = None
        with inside(self.server):
            self.behind = UserspacePlane(
                self.reactor,
                lambda data, path, _: self.unhandled.append((data, path)),
                random=random.Random(7).randbytes,
                clock=lambda: self.now,
                dscp=dscp,
            )
            self.plane: KernelPlane | UserspacePlane = self.behind
            if mode is not None:
                self.relay = KernelRelay.load(sizes, at_tc=Mode.TC in (mode, to_peers))
                self.tables = self.relay.tables
                self._kernel_buckets = KernelBuckets(self.tables)
                self.tables.set_header(dscp=dscp, ttl=default_ttl())
                self.tables.stand_still(self.now)
                self.plane = KernelPlane(self.behind, self.tables, on_full=self._on_full)
                allow_routes()
                self.attachment = attach(self.relay, ("clients",), mode)
                for link in read_links():
                    if link.name == "peers":
                        self.attachment.add(link, to_peers or mode)
                self.attachment.refresh()
                self._links.append(self.attachment)
        if self.tables is not None and mode is Mode.NATIVE:
            # What leaves by XDP arrives where a program runs.
            for far in (self.left, self.right):
                with inside(far):
                    number = socket.if_nametoindex("eth0")
                    self._links.append(self.relay.passing.attach(number, _XDP_NATIVE))

    def socket_on(self, host: Host, address: str, port: int = 0) -> socket.socket:
        """A socket of a client or a peer."""
        family = IPV6 if ":" in address else IPV4
        with inside(host):
            sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.bind((address, port))
        sock.settimeout(PATIENCE)
        return sock

    def listen(
        self, family: socket.AddressFamily, port: int = 0, gate: Gate | None = None
    ) -> Address:
        """Let the plane listen for clients."""
        return self.listen_on(self.socket_on(self.server, LISTENERS[family], port), gate)

    def listen_on(self, sock: socket.socket, gate: Gate | None = None) -> Address:
        """Let it listen on that socket."""
        sock.setblocking(False)
        self.plane.listen(sock, BindingPolicy(gate=gate))
        return address_of(sock)

    def relay_socket(self, family: socket.AddressFamily, port: int = 0) -> socket.socket:
        """For an allocation."""
        relay = self.socket_on(self.server, RELAYS[family], port)
        relay.setblocking(False)
        return relay

    def allocate(
        self, client: socket.socket, listener: Address, family: socket.AddressFamily
    ) -> tuple[int, Address]:
        """Open an allocation: its identifier and its relayed address."""
        relay = self.relay_socket(family)
        self._last += 1
        path = Path(Transport.UDP, listener, address_of(client))
        self.plane.open(self._last, path, relay, NOW + 600)
        return self._last, address_of(relay)

    def rates(self, *users: str, rate: int) -> Rates:
        """Those of users, of whom the first has another rate from now on."""
        for user in users:
            if user not in self._buckets:
                self._buckets[user] = (
                    (TokenBucket(rate), TokenBucket(rate))
                    if self.tables is None
                    else self._kernel_buckets.open(user, rate)
                )
        pairs = [self._buckets[user] for user in users]
        for bucket in pairs[0]:
            bucket.rate = rate
        return Rates(tuple(each[0] for each in pairs), tuple(each[1] for each in pairs))

    def wire(self, side: str, *, protocol: int = 0) -> socket.socket:
        """Takes frames at the far end of a cable: that of "left", or of "right".

        What arrives there is given, too, if it has that protocol.
        """
        with inside(self.left if side == "left" else self.right):
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            wire.bind(("eth0", protocol))
        self._sockets.append(wire)
        return wire

    def turn(self) -> None:
        """Let user space treat what waits."""
        self.reactor.turn()

    def set_clock(self, now: float) -> None:
        """What time it is from now on, for both planes."""
        self.now = now
        if self.tables is not None:
            self.tables.stand_still(now)

    def close(self) -> None:
        self.plane.stop()
        self.reactor.close()
        for sock in self._sockets:
            sock.close()
        for link in self._links:
            link.close()
        if self.tables is not None:
            self.relay.close()

    def _lay(
        self,
        lab: Lab,
        interface: str,
        far: tuple[Host, str],
        here: Mapping[socket.AddressFamily, str],
        there: Mapping[socket.AddressFamily, tuple[str, ...]],
    ) -> None:
        host, name = far
        lab.cable(
            (self.server, interface, " ".join(map(_with_length, here.values()))),
            (
                host,
                "eth0",
                " ".join(_with_length(each) for all_ in there.values() for each in all_),
            ),
        )
        # Checksums are there, as on packets from a wire.
        run(host, "ethtool", "-K", "eth0", "tx", "off")
        near_mac, far_mac = MACS["server", interface], MACS[name, "eth0"]
        self.server.configure("link", "set", interface, "address", near_mac)
        host.configure("link", "set", "eth0", "address", far_mac)
        for each in (each for all_ in there.values() for each in all_):
            _know(self.server, interface, each, far_mac)
        for each in here.values():
            _know(host, "eth0", each, near_mac)

    def _on_full(self) -> None:
        self.full += 1


def _with_length(address: str) -> str:
    return f"{address}/64" if ":" in address else f"{address}/24"


def _know(host: Host, interface: str, address: str, mac: str) -> None:
    host.configure(
        *("neighbour", "replace", address, "lladdr", mac, "dev", interface, "nud", "permanent")
    )
