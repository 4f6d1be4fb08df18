"""Who may exchange what by a plane in user space, and how it is framed."""

import socket

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net.batch import CAPACITY
from natkit.relay.plane import Counters
from natkit.stun.attributes import Data, Software, XorMappedAddress, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from tests.natkit.relay.relayed import (
    BINDING,
    CHANNEL,
    FAMILIES,
    PLAIN,
    SOFTWARE,
    TRANSACTION,
    Relayed,
    channel_data,
    send_indication,
)
from tests.natkit.relay.rig import Rig, address_of, received


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_binding_request_is_answered_with_the_source_address(
    rig: Rig, family: socket.AddressFamily
) -> None:
    listener, client = rig.listen(family), rig.new_socket(family)
    client.sendto(BINDING, listener)
    rig.turn()
    ((data, source),) = received(client)
    expected = Message.request(Method.BINDING, TRANSACTION).success(
        XorMappedAddress(address_of(client))
    )
    assert data == expected.encode()
    assert len(data) == (32 if family == socket.AF_INET else 44)
    assert source == listener
    assert rig.unhandled == []


def test_many_binding_requests_of_many_clients_get_each_its_own_answer(rig: Rig) -> None:
    listener = rig.listen()
    clients = [rig.new_socket() for _ in range(5)]
    count = 2 * CAPACITY
    for number in range(count):
        request = Message.request(Method.BINDING, number.to_bytes(12, "big"))
        clients[number % 5].sendto(request.encode(), listener)
    rig.turn()
    for index, client in enumerate(clients):
        answers = [Message.parse(data) for data, _ in received(client)]
        assert [int.from_bytes(answer.transaction_id, "big") for answer in answers] == list(
            range(index, count, 5)
        )
        for answer in answers:
            mapped = answer.get(XorMappedAddress)
            assert mapped is not None
            assert mapped.address == address_of(client)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(SOFTWARE.encode(), id="attributes"),
        pytest.param(PLAIN.encode(fingerprint=True), id="fingerprint"),
        pytest.param(BINDING[:4] + b"\0\0\0\0" + BINDING[8:], id="classic"),
        pytest.param(BINDING[:19], id="cut off"),
        pytest.param(BINDING + b"\0", id="too long"),
        pytest.param(Message.request(Method.ALLOCATE, TRANSACTION).encode(), id="another method"),
        pytest.param(Message.indication(Method.BINDING, TRANSACTION).encode(), id="indication"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\x40\0\0", id="cut off ChannelData header"),
        pytest.param(b"\x80" * 40, id="RTP"),
        pytest.param(b"\x16" * 40, id="DTLS"),
    ],
)  # fmt: skip
def test_everything_else_goes_up_as_it_came(rig: Rig, packet: bytes) -> None:
    listener, client = rig.listen(), rig.new_socket()
    # The slot's earlier packet must not show through behind a shorter one.
    client.sendto(BINDING, listener)
    rig.turn()
    assert len(received(client)) == 1
    client.sendto(packet, listener)
    rig.turn()
    assert received(client) == []
    path = Path(Transport.UDP, listener, address_of(client))
    assert rig.unhandled == [(packet, path, rig.now)]


def test_a_listener_may_leave_binding_requests_to_the_machine(rig: Rig) -> None:
    listener, client = rig.listen(answer_binding=False), rig.new_socket()
    client.sendto(BINDING, listener)
    rig.turn()
    assert [data for data, _, _ in rig.unhandled] == [BINDING]


@pytest.mark.parametrize("relay_family", FAMILIES)
@pytest.mark.parametrize("client_family", FAMILIES)
def test_channel_data_is_relayed_both_ways(
    rig: Rig, client_family: socket.AddressFamily, relay_family: socket.AddressFamily
) -> None:
    relayed = Relayed(rig, client_family, relay_family)
    assert relayed.up(channel_data(b"hello")) == [(b"hello", relayed.address)]
    assert relayed.down(b"hello back") == [channel_data(b"hello back")]
    assert rig.unhandled == []
    assert relayed.counters == Counters(
        packets_to_peers=1, bytes_to_peers=5, packets_to_clients=1, bytes_to_clients=10
    )


@pytest.mark.parametrize("size", [0, 1, 3, 4, 1_000, 9_000, 60_000])
def test_channel_data_of_every_size_arrives_whole(rig: Rig, size: int) -> None:
    relayed = Relayed(rig)
    data = bytes(index % 251 for index in range(size))
    assert relayed.up(channel_data(data)) == [(data, relayed.address)]
    assert relayed.down(data) == [channel_data(data)]


def test_padding_of_channel_data_over_udp_is_accepted_and_never_sent(rig: Rig) -> None:
    relayed = Relayed(rig)
    assert relayed.up(channel_data(b"hello", padding=3)) == [(b"hello", relayed.address)]
    assert relayed.down(b"hello") == [channel_data(b"hello")]


def test_channel_data_that_claims_more_than_it_has_is_dropped(rig: Rig) -> None:
    relayed = Relayed(rig)
    assert relayed.up(channel_data(b"x" * 100)) != []
    assert relayed.up(channel_data(b"x" * 100)[:50]) == []
    assert relayed.counters.dropped_malformed == 1
    assert rig.unhandled == []


@pytest.mark.parametrize("number", [0x4001, 0x4FFF, 0x5000, 0x7FFF])
def test_channel_data_on_an_unbound_channel_is_dropped(rig: Rig, number: int) -> None:
    relayed = Relayed(rig)
    assert relayed.up(channel_data(b"hello", number)) == []
    assert relayed.counters.dropped_no_channel == 1
    assert rig.unhandled == []


def test_channels_of_the_old_range_are_relayed_when_the_machine_binds_them(rig: Rig) -> None:
    relayed = Relayed(rig)
    other = rig.new_socket()
    rig.plane.bind_channel(relayed.allocation, 0x7FFF, address_of(other), 1_600.0)
    assert relayed.up(channel_data(b"hello", 0x7FFF)) == []
    assert received(other) == [(b"hello", relayed.address)]


def test_channel_data_of_a_client_without_allocation_is_dropped(rig: Rig) -> None:
    relayed = Relayed(rig)
    stranger = rig.new_socket()
    stranger.sendto(channel_data(b"hello"), relayed.listener)
    rig.turn()
    assert received(relayed.peer) == []
    assert rig.unhandled == []
    assert rig.plane.totals() == Counters(dropped_no_allocation=1)


@pytest.mark.parametrize("relay_family", FAMILIES)
@pytest.mark.parametrize("client_family", FAMILIES)
def test_data_of_a_peer_without_channel_becomes_a_data_indication(
    rig: Rig, client_family: socket.AddressFamily, relay_family: socket.AddressFamily
) -> None:
    relayed = Relayed(rig, client_family, relay_family, channel=False)
    seen = set()
    for data in (b"", b"1", b"12", b"123", b"1234", b"x" * 9_000):
        (packet,) = relayed.down(data)
        message = Message.parse(packet)
        assert (message.method, message.message_class) == (Method.DATA, MessageClass.INDICATION)
        assert message.attributes == (XorPeerAddress(relayed.peer_address), Data(data))
        assert message.encode() == packet
        seen.add(message.transaction_id)
    assert len(seen) == 6
    assert relayed.counters.packets_to_clients == 6
    assert relayed.counters.bytes_to_clients == 9_010


def test_padding_is_zero_even_where_a_longer_packet_lay(rig: Rig) -> None:
    relayed = Relayed(rig, channel=False)
    relayed.down(b"\xff" * 100)
    (packet,) = relayed.down(b"12345")
    assert packet.endswith(b"12345\0\0\0")


@pytest.mark.parametrize("relay_family", FAMILIES)
def test_a_plain_send_indication_is_relayed(rig: Rig, relay_family: socket.AddressFamily) -> None:
    relayed = Relayed(rig, relay_family=relay_family, channel=False)
    for data in (b"", b"1", b"12345", b"x" * 9_000):
        packet = send_indication(relayed.peer_address, data)
        assert relayed.up(packet) == [(data, relayed.address)]
    assert rig.unhandled == []
    assert relayed.counters.packets_to_peers == 4
    assert relayed.counters.bytes_to_peers == 9_006


def test_a_send_indication_may_have_its_data_first(rig: Rig) -> None:
    relayed = Relayed(rig)
    packet = Message.indication(
        Method.SEND, TRANSACTION, Data(b"hello"), XorPeerAddress(relayed.peer_address)
    ).encode()
    assert relayed.up(packet) == [(b"hello", relayed.address)]


def test_a_send_indication_that_is_not_plain_goes_up(rig: Rig) -> None:
    relayed = Relayed(rig)
    peer, data = XorPeerAddress(relayed.peer_address), Data(b"hello")
    good = send_indication(relayed.peer_address, b"hello")
    packets = [
        Message.indication(Method.SEND, TRANSACTION, peer, data, Software("x")).encode(),
        Message.indication(Method.SEND, TRANSACTION, peer, data, data).encode(),
        Message.indication(Method.SEND, TRANSACTION, peer, peer, data).encode(),
        Message.indication(Method.SEND, TRANSACTION, peer).encode(),
        Message.indication(Method.SEND, TRANSACTION, data).encode(),
        Message.indication(Method.SEND, TRANSACTION, peer, data).encode(fingerprint=True),
        send_indication(Address("127.0.0.9", 9), b"unpermitted"),
        send_indication(Address("::1", 9), b"another family"),
        good[:-4],
        good + b"\0" * 4,
        good[:4] + b"cook" + good[8:],
    ]
    for packet in packets:
        assert relayed.up(packet) == []
    assert [data for data, _, _ in rig.unhandled] == packets
    assert relayed.counters == Counters()


def test_a_send_indication_of_a_client_without_allocation_goes_up(rig: Rig) -> None:
    relayed, stranger = Relayed(rig), rig.new_socket()
    packet = send_indication(relayed.peer_address, b"hello")
    stranger.sendto(packet, relayed.listener)
    rig.turn()
    assert received(relayed.peer) == []
    assert [data for data, _, _ in rig.unhandled] == [packet]


def test_data_of_a_peer_without_permission_is_dropped(rig: Rig) -> None:
    relayed = Relayed(rig)
    stranger = rig.new_socket(host="127.0.0.2")
    assert relayed.down(b"hello", stranger) == []
    assert relayed.counters == Counters(dropped_no_permission=1)


def test_permissions_are_for_an_address_whatever_the_port(rig: Rig) -> None:
    relayed = Relayed(rig)
    second = rig.new_socket()
    (packet,) = relayed.down(b"hello", second)
    assert Message.parse(packet).get(XorPeerAddress) == XorPeerAddress(address_of(second))


def test_a_permission_is_dead_when_its_time_has_come(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.now = 1_299.9
    assert relayed.down(b"in time") == [channel_data(b"in time")]
    rig.now = 1_300.0
    assert relayed.down(b"late") == []
    assert relayed.counters.dropped_no_permission == 1
    # RFC 8656 §12.6 asks for the channel alone.
    assert relayed.up(channel_data(b"up")) == [(b"up", relayed.address)]
    rig.plane.permit(relayed.allocation, "127.0.0.1", 1_600.0)
    assert relayed.down(b"again") == [channel_data(b"again")]


def test_a_channel_is_dead_when_its_time_has_come(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.permit(relayed.allocation, "127.0.0.1", 1_900.0)
    rig.now = 1_600.0
    assert relayed.up(channel_data(b"late")) == []
    assert relayed.counters.dropped_no_channel == 1
    (packet,) = relayed.down(b"by indication")
    assert Message.parse(packet).get(Data) == Data(b"by indication")


def test_an_allocation_is_dead_when_its_time_has_come_and_lives_on_when_extended(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.permit(relayed.allocation, "127.0.0.1", 9_000.0)
    rig.plane.bind_channel(relayed.allocation, CHANNEL, relayed.peer_address, 9_000.0)
    rig.now = 2_000.0
    assert relayed.up(channel_data(b"late")) == []
    assert relayed.down(b"late") == []
    assert relayed.up(send_indication(relayed.peer_address, b"late")) == []
    assert rig.plane.totals() == Counters(dropped_no_allocation=2)
    assert len(rig.unhandled) == 1
    rig.plane.extend(relayed.allocation, 3_000.0)
    assert relayed.up(channel_data(b"again")) == [(b"again", relayed.address)]
    assert relayed.down(b"again") == [channel_data(b"again")]


def test_a_channel_bound_anew_leaves_nothing_of_the_old_one(rig: Rig) -> None:
    relayed = Relayed(rig)
    other = rig.new_socket()
    rig.plane.bind_channel(relayed.allocation, CHANNEL, address_of(other), 1_600.0)
    assert relayed.up(channel_data(b"hello")) == []
    assert received(other) == [(b"hello", relayed.address)]
    (packet,) = relayed.down(b"hello")
    assert Message.parse(packet).method == Method.DATA
    rig.plane.bind_channel(relayed.allocation, 0x4001, address_of(other), 1_600.0)
    assert relayed.down(b"hello", other) == [channel_data(b"hello", 0x4001)]
    relayed.up(channel_data(b"on the number that was left"))
    assert relayed.counters.dropped_no_channel == 1


def test_expired_permissions_and_channels_do_not_pile_up(rig: Rig) -> None:
    relayed = Relayed(rig)
    for number in range(1_000):
        rig.now += 1
        peer = Address(f"127.1.{number >> 8}.{number & 255}", 9)
        rig.plane.permit(relayed.allocation, peer.host, rig.now + 10)
        rig.plane.bind_channel(relayed.allocation, 0x4000 + number, peer, rig.now + 10)
    tables = rig.plane._allocations[relayed.allocation]
    assert len(tables.permissions) == 10
    assert len(tables.channels) == len(tables.channels_by_peer) == 10


class TestOnlyRelayed:
    """RFC 8656 leaves the peer policy to the server: here its own relayed addresses are peers."""

    def test_reaches_relayed_addresses_and_no_other_port_of_that_host(self, rig: Rig) -> None:
        first, second = Relayed(rig, channel=False), Relayed(rig, channel=False)
        rig.plane.permit(first.allocation, "127.0.0.1", 1_300.0, only_relayed=True)
        rig.plane.bind_channel(
            first.allocation, CHANNEL, second.address, 1_600.0, only_relayed=True
        )
        rig.plane.bind_channel(
            first.allocation, 0x4001, first.peer_address, 1_600.0, only_relayed=True
        )
        first.up(channel_data(b"by channel"))
        first.up(send_indication(second.address, b"by indication"))
        got = [Message.parse(data) for data, _ in received(second.client)]
        assert [message.get(Data) for message in got] == [
            Data(b"by channel"),
            Data(b"by indication"),
        ]
        assert {message.get(XorPeerAddress) for message in got} == {XorPeerAddress(first.address)}
        # Towards a plain socket of the same host, and from it.
        assert first.up(channel_data(b"hello", 0x4001)) == []
        assert first.down(b"hello") == []
        assert first.counters.dropped_no_permission == 2
        packet = send_indication(first.peer_address, b"hello")
        assert first.up(packet) == []
        assert [data for data, _, _ in rig.unhandled] == [packet]

    def test_ends_with_the_allocation_that_it_rests_on(self, rig: Rig) -> None:
        first, second = Relayed(rig, channel=False), Relayed(rig, channel=False)
        rig.plane.permit(first.allocation, "127.0.0.1", 1_300.0, only_relayed=True)
        rig.plane.bind_channel(
            first.allocation, CHANNEL, second.address, 1_600.0, only_relayed=True
        )
        rig.plane.close(second.allocation)
        first.up(channel_data(b"hello"))
        assert first.counters == Counters(dropped_no_permission=1)

    def test_reaches_what_another_process_of_the_server_relays(self, rig: Rig) -> None:
        relayed = Relayed(rig, channel=False)
        rig.plane.permit(relayed.allocation, "127.0.0.1", 1_300.0, only_relayed=True)
        rig.plane.bind_channel(
            relayed.allocation, CHANNEL, relayed.peer_address, 1_600.0, only_relayed=True
        )
        rig.elsewhere.add(relayed.peer_address)
        assert relayed.up(channel_data(b"there")) == [(b"there", relayed.address)]
        assert relayed.down(b"back") == [channel_data(b"back")]
        rig.elsewhere.clear()
        assert relayed.up(channel_data(b"there")) == []
        assert relayed.down(b"back") == []
        assert relayed.counters.dropped_no_permission == 2

    def test_ends_with_the_lifetime_of_the_allocation_that_it_rests_on(self, rig: Rig) -> None:
        first, second = Relayed(rig, channel=False), Relayed(rig, channel=False)
        rig.plane.permit(first.allocation, "127.0.0.1", 1_300.0, only_relayed=True)
        rig.plane.bind_channel(
            first.allocation, CHANNEL, second.address, 1_600.0, only_relayed=True
        )
        rig.plane.extend(second.allocation, rig.now)
        first.up(channel_data(b"hello"))
        assert first.counters == Counters(dropped_no_permission=1)

    def test_gives_way_to_a_later_permission_without_it(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        rig.plane.permit(relayed.allocation, "127.0.0.1", 1_300.0, only_relayed=True)
        assert relayed.down(b"hello") == []
        rig.plane.permit(relayed.allocation, "127.0.0.1", 1_300.0)
        assert relayed.down(b"hello") == [channel_data(b"hello")]
