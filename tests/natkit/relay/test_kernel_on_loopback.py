"""Clients and peers on the server's own machine: the plane in the kernel, on loopback."""

import random
import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.relay.attaching import Mode, allow_routes, attach, default_ttl
from natkit.relay.kernel import KernelPlane
from natkit.relay.kernel_tables import KernelRelay
from natkit.relay.plane import BindingPolicy
from natkit.relay.userspace import UserspacePlane
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import IPV4, IPV6, NOW, PATIENCE, SMALL, inside
from tests.natkit.relay.relayed import send_indication
from tests.natkit.relay.rig import HandReactor, address_of
from tests.natkit.relay.twins import on_one_processor
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf"), pytest.mark.tc]

CHANNEL = 0x4001
ETH_P_IP = 0x0800
SIZES = (0, 1, 172, 1_472, 3_400)
BINDING = Message.request(Method.BINDING, b"0123456789ab").encode()
OWN = {IPV4: "10.9.0.1", IPV6: "fd09::1"}
LOOPBACK = {IPV4: "127.0.0.1", IPV6: "::1"}
FAMILIES = [pytest.param(family, id=family.name) for family in (IPV4, IPV6)]


class Alone:
    """A machine with a plane, and no wire."""

    def __init__(self, lab: Lab) -> None:
        self.host = lab.host("alone")
        self.host.configure("address", "add", f"{OWN[IPV4]}/32", "dev", "lo")
        self.host.configure("address", "add", f"{OWN[IPV6]}/128", "dev", "lo", "nodad")
        self.reactor = HandReactor()
        self._sockets: list[socket.socket] = []
        self._last = 0
        with inside(self.host):
            self.behind = UserspacePlane(
                self.reactor,
                lambda *_: None,
                random=random.Random(7).randbytes,
                clock=lambda: NOW,
            )
            self._relay = KernelRelay.load(SMALL)
            tables = self._relay.tables
            tables.set_header(dscp=0, ttl=default_ttl())
            tables.stand_still(NOW)
            self.plane = KernelPlane(self.behind, tables)
            allow_routes()
            self._attachment = attach(self._relay, ("lo",), Mode.TC)

    def run_on(self, *interfaces: str) -> None:
        """On these, from now on."""
        self._attachment.close()
        with inside(self.host):
            self._attachment = attach(self._relay, interfaces, Mode.TC)

    def socket_on(self, address: str) -> socket.socket:
        """A client's, a peer's or the server's."""
        with inside(self.host):
            sock = socket.socket(IPV6 if ":" in address else IPV4, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.bind((address, 0))
        sock.settimeout(PATIENCE)
        return sock

    def listen(self, address: str) -> Address:
        """Let the plane listen."""
        sock = self.socket_on(address)
        sock.setblocking(False)
        self.plane.listen(sock, BindingPolicy())
        return address_of(sock)

    def allocate(self, client: socket.socket, listener: Address, host: str) -> tuple[int, Address]:
        """An allocation that relays from ``host``: its identifier, and its relayed address."""
        relay = self.socket_on(host)
        relay.setblocking(False)
        self._last += 1
        path = Path(Transport.UDP, listener, address_of(client))
        self.plane.open(self._last, path, relay, NOW + 600)
        return self._last, address_of(relay)

    def close(self) -> None:
        self.plane.stop()
        self.reactor.close()
        self._attachment.close()
        self._relay.close()
        for sock in self._sockets:
            sock.close()


@pytest.fixture(name="alone")
def machine_alone(lab: Lab) -> Iterator[Alone]:
    with on_one_processor():
        alone = Alone(lab)
        yield alone
        alone.close()


class Pair:
    """A client with an allocation, and a peer that it has a channel to."""

    def __init__(self, alone: Alone, client: str, relay: str, peer: str) -> None:
        self.client, self.peer = alone.socket_on(client), alone.socket_on(peer)
        self.listener = alone.listen(client)
        self.number, self.relayed = alone.allocate(self.client, self.listener, relay)
        alone.plane.permit(self.number, peer, NOW + 300)
        alone.plane.bind_channel(self.number, CHANNEL, address_of(self.peer), NOW + 600)


def on_channel(data: bytes) -> bytes:
    return ChannelData(CHANNEL, data).encode(padded=False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("is_own", [False, True])
def test_data_passes_both_ways_without_user_space(
    alone: Alone, family: socket.AddressFamily, is_own: bool
) -> None:
    """Addresses of the machine that are no loopback ones are reached by that interface, too."""
    host = OWN[family] if is_own else LOOPBACK[family]
    pair = Pair(alone, host, host, host)
    for size in SIZES:
        data = bytes(each % 251 for each in range(size))
        pair.client.sendto(on_channel(data), pair.listener)
        assert pair.peer.recvfrom(4_000)[0] == data
        pair.client.sendto(send_indication(address_of(pair.peer), data), pair.listener)
        got, source = pair.peer.recvfrom(4_000)
        assert (got, source[:2]) == (data, pair.relayed)
        pair.peer.sendto(data, pair.relayed)
        got, source = pair.client.recvfrom(4_000)
        assert (got, source[:2]) == (on_channel(data), pair.listener)
    counted = alone.plane.counters(pair.number)
    assert (counted.packets_to_peers, counted.packets_to_clients) == (2 * len(SIZES), len(SIZES))
    assert alone.behind.counters(pair.number).packets_to_peers == 0
    assert alone.reactor.idle


@pytest.mark.parametrize("family", FAMILIES)
def test_a_binding_request_is_answered(alone: Alone, family: socket.AddressFamily) -> None:
    listener, client = alone.listen(LOOPBACK[family]), alone.socket_on(LOOPBACK[family])
    client.sendto(BINDING, listener)
    got, source = client.recvfrom(2_000)
    assert source[:2] == listener
    assert Message.parse(got).transaction_id == BINDING[8:20]
    assert alone.reactor.idle
    assert alone.plane.totals().bindings_answered == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_two_clients_of_one_server_talk_to_each_other_in_one_go(
    alone: Alone, family: socket.AddressFamily
) -> None:
    host = LOOPBACK[family]
    one, other = (Pair(alone, host, host, host) for _ in range(2))
    for mine, theirs in ((one, other), (other, one)):
        alone.plane.permit(mine.number, host, NOW + 300)
        alone.plane.bind_channel(mine.number, 0x4005, theirs.relayed, NOW + 300)
    one.client.sendto(ChannelData(0x4005, b"hello").encode(padded=False), one.listener)
    got, source = other.client.recvfrom(2_000)
    assert (got, source[:2]) == (ChannelData(0x4005, b"hello").encode(padded=False), other.listener)
    assert alone.plane.counters(one.number).packets_to_peers == 1
    assert alone.plane.counters(other.number).packets_to_clients == 1
    assert alone.reactor.idle


def test_what_changes_its_address_family_goes_through_user_space(alone: Alone) -> None:
    """A packet that was delivered has a route, which is of its family."""
    for client, peer in ((IPV4, IPV6), (IPV6, IPV4)):
        pair = Pair(alone, LOOPBACK[client], LOOPBACK[peer], LOOPBACK[peer])
        pair.client.sendto(on_channel(b"there"), pair.listener)
        alone.reactor.turn()
        assert pair.peer.recv(2_000) == b"there"
        pair.peer.sendto(b"back", pair.relayed)
        alone.reactor.turn()
        assert pair.client.recv(2_000) == on_channel(b"back")
        counted = alone.behind.counters(pair.number)
        assert (counted.packets_to_peers, counted.packets_to_clients) == (1, 1)


def test_what_is_sent_to_all_of_the_machine_is_sent_by_user_space_which_may_not(
    alone: Alone,
) -> None:
    pair = Pair(alone, "127.0.0.1", "127.0.0.1", "127.0.0.1")
    everybody = alone.socket_on("0.0.0.0")
    peer = Address("127.255.255.255", address_of(everybody).port)
    alone.plane.permit(pair.number, peer.host, NOW + 300)
    pair.client.sendto(send_indication(peer, b"all of you"), pair.listener)
    assert not alone.reactor.idle
    alone.reactor.turn()
    everybody.setblocking(False)
    with pytest.raises(BlockingIOError):
        everybody.recv(2_000)


def test_no_wire_has_what_comes_from_a_loopback_address(alone: Alone, lab: Lab) -> None:
    other = lab.host("other")
    lab.cable((alone.host, "out", "10.2.0.1/24"), (other, "eth0", "10.2.0.2/24"))
    alone.run_on("lo", "out")
    pair = Pair(alone, "127.0.0.1", "127.0.0.1", "127.0.0.1")
    with inside(other):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        wire.bind(("eth0", ETH_P_IP))
        beyond = socket.socket(IPV4, socket.SOCK_DGRAM)
    beyond.bind(("10.2.0.2", 0))
    alone.plane.permit(pair.number, "10.2.0.2", NOW + 300)
    # Both know each other.
    near = alone.socket_on("10.2.0.1")
    beyond.settimeout(PATIENCE)
    wire.settimeout(PATIENCE)
    near.sendto(b"there", beyond.getsockname())
    assert beyond.recv(2_000) == b"there"
    assert wire.recv(2_000)[42:] == b"there"
    pair.client.sendto(send_indication(address_of(beyond), b"from nowhere"), pair.listener)
    assert not alone.reactor.idle
    alone.reactor.turn()
    near.sendto(b"after all", beyond.getsockname())
    assert wire.recv(2_000)[42:] == b"after all"
    wire.close()
    beyond.close()
