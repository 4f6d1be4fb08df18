"""Hosts on virtual cables: clients and peers, and a host between that relays, or nobody."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from natkit.relay.kernel_tables import KernelRelay, TableSizes
from natkit.relay.libbpf import Link
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host, Lab, run

__all__ = ["LISTENER", "PEER", "RELAY", "Hosts", "client_host", "lay", "lay_direct"]

LISTENER: Final = "10.1.0.1"
RELAY: Final = "10.2.0.1"
PEER: Final = "10.2.0.2"

_CLIENTS: Final = "10.1.0.2"
_NEXT_TO_PEERS: Final = "10.2.0.3"
_CROWD: Final = "10.9.0.0/16"
_FIRST: Final = IPv4Address("10.9.0.1")
_INTERFACE: Final = "eth0"
_RECEIVE_BUFFER: Final = 1 << 22
_SO_RCVBUFFORCE: Final = 33  # <asm-generic/socket.h>
_XDP_NATIVE: Final = 1 << 2  # <linux/if_link.h>


def client_host(number: int) -> str:
    """Where client ``number`` is: each has an address, and all share a port."""
    return str(_FIRST + number)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The host between, if there is one, and those of clients and peers."""

    clients: Host
    peers: Host
    between: Host | None = None

    def client_socket(self) -> socket.socket:
        """One that belongs to all clients."""
        return _socket(self.clients, "0.0.0.0")

    def peer_socket(self) -> socket.socket:
        """One of a peer."""
        return _socket(self.peers, PEER)

    def let_route(self) -> None:
        """Have the host between route, by its kernel alone."""
        if self.between is not None:
            run(self.between, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    @contextmanager
    def with_drivers(self) -> Iterator[None]:
        """Have a program at the ends of clients and peers that lets everything pass.

        What leaves the other end by a driver's way comes out only where one runs.
        """
        relay = KernelRelay.load(TableSizes(2, 2, 2))
        links: list[Link] = []
        try:
            for far in (self.clients, self.peers):
                with inside(far):
                    number = socket.if_nametoindex(_INTERFACE)
                    links.append(relay.passing.attach(number, _XDP_NATIVE))
            yield
        finally:
            for link in links:
                link.close()
            relay.close()


def _socket(host: Host, address: str) -> socket.socket:
    with inside(host):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # The load's own buffers must not be what loses packets.
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    sock.bind((address, 0))
    return sock


def lay(made: Lab, *, has_offloads: bool = False) -> Hosts:
    """A cable from the clients to the host between, and one from there to the peers."""
    clients, peers, between = made.host("clients"), made.host("peers"), made.host("between")
    made.cable((between, "clients", f"{LISTENER}/24"), (clients, _INTERFACE, f"{_CLIENTS}/24"))
    made.cable((between, "peers", f"{RELAY}/24"), (peers, _INTERFACE, f"{PEER}/24"))
    between.configure("route", "add", _CROWD, "via", _CLIENTS)
    clients.configure("route", "add", f"{PEER}/32", "via", LISTENER)
    return _ready(Hosts(clients, peers, between), has_offloads=has_offloads)


def lay_direct(made: Lab, *, has_offloads: bool = False) -> Hosts:
    """A cable from the clients to the peers."""
    clients, peers = made.host("clients"), made.host("peers")
    made.cable((clients, _INTERFACE, f"{_NEXT_TO_PEERS}/24"), (peers, _INTERFACE, f"{PEER}/24"))
    return _ready(Hosts(clients, peers), has_offloads=has_offloads)


def _ready(hosts: Hosts, *, has_offloads: bool) -> Hosts:
    hosts.clients.configure("route", "add", "local", _CROWD, "dev", "lo")
    if not has_offloads:
        for far in (hosts.clients, hosts.peers):
            # As packets come from a wire: with their checksums.
            run(far, "ethtool", "-K", _INTERFACE, "tx", "off")
    return hosts
