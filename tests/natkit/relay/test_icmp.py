"""ICMP errors that the plane's relay sockets meet, on loopback (RFC 8656 §11.5)."""

import socket
from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net import icmp, sockaddr
from natkit.net.icmp import IcmpError
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.rig import LOOPBACK, Rig, address_of, received

pytestmark = pytest.mark.skipif(not icmp.CAN_REPORT, reason="Linux")

STREAM = Path(Transport.TCP, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))
UNREACHABLE = {socket.AF_INET: (3, 3), socket.AF_INET6: (1, 4)}
FAMILIES = [pytest.param(family, id=family.name) for family in UNREACHABLE]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def closed_port(family: socket.AddressFamily = socket.AF_INET) -> Address:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK[family], 0))
        return address_of(sock)


def channel_data(number: int, data: bytes) -> bytes:
    return ChannelData(number, data).encode(padded=False)


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "stream"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_closed_port_is_told_with_the_path_to_it(
    rig: Rig, family: socket.AddressFamily, stream: bool
) -> None:
    closed = closed_port(family)
    client, listener = rig.new_socket(), rig.listen()
    if stream:
        number, relayed = rig.allocate_stream(STREAM, [], family)
    else:
        number, relayed = rig.allocate(client, listener, family)
    rig.plane.permit(number, closed.host, 3_000.0)
    rig.plane.bind_channel(number, 0x4000, closed, 3_000.0)
    if stream:
        rig.plane.relay_from(STREAM, channel_data(0x4000, b"hello"), rig.now)
    else:
        client.sendto(channel_data(0x4000, b"hello"), listener)
    rig.turn()
    error = IcmpError(sockaddr.pack(closed), *UNREACHABLE[family], 0)
    assert rig.icmp == [(error, Path(Transport.UDP, relayed, closed))]


@pytest.mark.parametrize("until", [None, 1_000.0])
def test_an_error_from_where_nothing_is_permitted_is_not_told(
    rig: Rig, until: float | None
) -> None:
    closed = closed_port()
    number, relayed = rig.allocate(rig.new_socket(), rig.listen())
    if until is not None:
        rig.plane.permit(number, closed.host, until)
    rig.plane.send(b"hello", Path(Transport.UDP, relayed, closed))
    rig.turn()
    assert rig.icmp == []


def test_a_peer_that_is_gone_costs_the_others_nothing(rig: Rig) -> None:
    closed, peer = closed_port(), rig.new_socket()
    client, listener = rig.new_socket(), rig.listen()
    number, relayed = rig.allocate(client, listener)
    rig.plane.permit(number, closed.host, 3_000.0)
    rig.plane.bind_channel(number, 0x4000, closed, 3_000.0)
    rig.plane.bind_channel(number, 0x4001, address_of(peer), 3_000.0)
    for count in (1, 2, 30):
        for place in range(count):
            client.sendto(channel_data(0x4000, b"lost"), listener)
            client.sendto(channel_data(0x4001, bytes([place])), listener)
        rig.turn()
        assert [data for data, _ in received(peer)] == [bytes([place]) for place in range(count)]
        peer.sendto(b"back", relayed)
        rig.turn()
        assert len(received(client)) == 1
    assert rig.plane.totals().dropped_send_failed == 0
    # Nothing is left that would keep the event loop awake.
    assert rig.reactor.idle


def test_of_many_errors_all_are_taken_though_not_at_once(rig: Rig) -> None:
    closed = closed_port()
    client, listener = rig.new_socket(), rig.listen()
    number, _ = rig.allocate(client, listener)
    rig.plane.permit(number, closed.host, 3_000.0)
    rig.plane.bind_channel(number, 0x4000, closed, 3_000.0)
    for size in range(50):
        # None like the one before: where several are alike, loopback tells of them by one error.
        client.sendto(channel_data(0x4000, bytes(size)), listener)
    rig.turn()
    assert len(rig.icmp) == 50
