"""The plane's dual allocations: one client, two relay sockets (RFC 8656 §7.2)."""

import ipaddress
import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address, Family, IPNetwork
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from natkit.net.libc import HAVE_MMSG
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.rig import Rig, address_of, received

FAMILIES = (Family.IPV4, Family.IPV6)
CHANNEL = {Family.IPV4: 0x4000, Family.IPV6: 0x4001}
STREAM = Path(Transport.TCP, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))


@pytest.fixture(
    params=[
        pytest.param(False, marks=pytest.mark.skipif(not HAVE_MMSG, reason="Linux"), id="linux"),
        pytest.param(True, id="portable"),
    ]
)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(portable=bool(request.param))
    yield rig
    rig.close()


class Dual:
    """A client with an address of each family, a peer of each, and a channel to either."""

    def __init__(self, rig: Rig, *, stream: bool = False) -> None:
        self._rig = rig
        self.written: list[bytes] = []
        self.stream = stream
        if stream:
            self.number, first = rig.allocate_stream(STREAM, self.written)
        else:
            self.client = rig.new_socket()
            self.listener = rig.listen()
            self.number, first = rig.allocate(self.client, self.listener)
        second = rig.new_socket(socket.AF_INET6)
        rig.plane.open_second(self.number, second, 2_000.0)
        self.relayed = {Family.IPV4: first, Family.IPV6: address_of(second)}
        self.peers = {family: rig.new_socket(family.socket_family) for family in FAMILIES}
        for family, peer in self.peers.items():
            address = address_of(peer)
            rig.plane.permit(self.number, address.host, 3_000.0)
            rig.plane.bind_channel(self.number, CHANNEL[family], address, 3_000.0)

    def up(self, family: Family, packet: bytes) -> list[tuple[bytes, Address]]:
        """What the peer of ``family`` gets when the client sends ``packet``."""
        if self.stream:
            self._rig.plane.relay_from(STREAM, packet, self._rig.now)
        else:
            self.client.sendto(packet, self.listener)
        self._rig.turn()
        return received(self.peers[family])

    def on_channel(self, family: Family) -> list[tuple[bytes, Address]]:
        """What the peer of ``family`` gets of data on its channel."""
        return self.up(family, ChannelData(CHANNEL[family], b"data").encode(padded=False))

    def indicated(self, family: Family) -> list[tuple[bytes, Address]]:
        """What the peer of ``family`` gets of a Send indication."""
        peer = XorPeerAddress(address_of(self.peers[family]))
        return self.up(
            family, Message.indication(Method.SEND, bytes(12), peer, Data(b"data")).encode()
        )

    def down(self, family: Family) -> list[bytes]:
        """What the client gets when the peer of ``family`` sends."""
        self.peers[family].sendto(b"back", self.relayed[family])
        self._rig.turn()
        if self.stream:
            taken, self.written[:] = self.written[:], []
            return taken
        return [data for data, _ in received(self.client)]


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
@pytest.mark.parametrize("family", FAMILIES)
def test_data_passes_by_the_address_of_the_peers_family(
    rig: Rig, family: Family, stream: bool
) -> None:
    dual = Dual(rig, stream=stream)
    assert dual.on_channel(family) == [(b"data", dual.relayed[family])]
    assert dual.indicated(family) == [(b"data", dual.relayed[family])]
    (data,) = dual.down(family)
    assert ChannelData.parse(data) == ChannelData(CHANNEL[family], b"back")
    counters = rig.plane.counters(dual.number)
    assert (counters.packets_to_peers, counters.packets_to_clients) == (2, 1)
    assert rig.plane.totals().packets_to_peers == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_each_address_lives_until_its_own_time(rig: Rig, family: Family) -> None:
    dual = Dual(rig)
    other = next(each for each in FAMILIES if each is not family)
    rig.plane.extend(dual.number, 2_500.0, family)
    rig.now = 2_000.0
    assert dual.on_channel(other) == dual.indicated(other) == []
    assert dual.down(other) == []
    assert dual.on_channel(family) == [(b"data", dual.relayed[family])]
    assert len(dual.down(family)) == 1
    rig.now = 2_500.0
    assert dual.on_channel(family) == []
    rig.plane.extend(dual.number, 2_600.0)
    assert len(dual.on_channel(family)) == len(dual.on_channel(other)) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_address_closes_without_the_other(rig: Rig, family: Family, stream: bool) -> None:
    dual = Dual(rig, stream=stream)
    other = next(each for each in FAMILIES if each is not family)
    dual.on_channel(family)
    rig.plane.close_one(dual.number, dual.relayed[family])
    assert dual.on_channel(family) == []
    assert dual.on_channel(other) == [(b"data", dual.relayed[other])]
    assert len(dual.down(other)) == 1
    with pytest.raises(MisuseError):
        rig.plane.close_one(dual.number, dual.relayed[other])
    # The sockets are closed, for the ports can be bound again; what was relayed is still counted.
    rig.plane.close(dual.number)
    for address in dual.relayed.values():
        with socket.socket(address.family.socket_family, socket.SOCK_DGRAM) as sock:
            sock.bind(address)
    assert rig.plane.totals().packets_to_peers == 2


def test_closing_the_allocation_closes_both_addresses(rig: Rig) -> None:
    dual = Dual(rig)
    rig.plane.close(dual.number)
    for address in dual.relayed.values():
        with socket.socket(address.family.socket_family, socket.SOCK_DGRAM) as sock:
            sock.bind(address)


def test_a_channel_that_moves_to_a_peer_of_the_other_family_leads_there_alone(rig: Rig) -> None:
    dual = Dual(rig)
    peer = address_of(dual.peers[Family.IPV6])
    rig.plane.bind_channel(dual.number, CHANNEL[Family.IPV4], peer, 3_000.0)
    packet = ChannelData(CHANNEL[Family.IPV4], b"data").encode(padded=False)
    assert dual.up(Family.IPV6, packet) == [(b"data", dual.relayed[Family.IPV6])]
    assert received(dual.peers[Family.IPV4]) == []
    (data,) = dual.down(Family.IPV4)
    assert Message.parse(data).method == Method.DATA


def test_networks_are_refused_at_both_addresses(rig: Rig) -> None:
    dual = Dual(rig)
    networks = tuple(_network(dual.peers[family]) for family in FAMILIES)
    rig.plane.refuse(networks)
    for family in FAMILIES:
        assert dual.on_channel(family) == dual.indicated(family) == []
        assert dual.down(family) == []


def test_two_addresses_of_one_family_are_a_misuse(rig: Rig) -> None:
    dual = Dual(rig)
    with pytest.raises(MisuseError):
        rig.plane.open_second(dual.number, rig.new_socket(socket.AF_INET6), 2_000.0)
    number, _ = rig.allocate(rig.new_socket(), dual.listener)
    with pytest.raises(MisuseError):
        rig.plane.open_second(number, rig.new_socket(), 2_000.0)


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
def test_both_addresses_follow_a_client_that_moves(rig: Rig, stream: bool) -> None:
    dual = Dual(rig)
    there = rig.new_socket()
    written: list[bytes] = []
    path = STREAM if stream else Path(Transport.UDP, dual.listener, address_of(there))
    rig.plane.expect(dual.number, path)
    rig.plane.move(dual.number, path, written.append if stream else None)
    for family in FAMILIES:
        assert dual.down(family) == []
    assert len(written if stream else received(there)) == 2
    rig.plane.close_one(dual.number, dual.relayed[Family.IPV4])
    dual.down(Family.IPV6)
    assert len(written if stream else received(there)) == (3 if stream else 1)


def test_both_relay_sockets_are_given_back_open(rig: Rig) -> None:
    dual = Dual(rig)
    first, second = rig.plane.release(dual.number)
    assert [address_of(first), address_of(second)] == list(dual.relayed.values())
    for family in FAMILIES:
        assert dual.down(family) == []
    assert [received(first)[0][0], received(second)[0][0]] == [b"back", b"back"]


def _network(sock: socket.socket) -> IPNetwork:
    return ipaddress.ip_network(address_of(sock).host)
