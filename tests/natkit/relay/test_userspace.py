import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import fields

import pytest
import uvloop

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport
from natkit.net import batch, sockaddr
from natkit.net.batch import CAPACITY
from natkit.net.libc import HAVE_MMSG
from natkit.relay.plane import BindingPolicy, Counters, RelayPlane
from natkit.relay.userspace import UserspacePlane
from natkit.stun.attributes import Data, Software, XorMappedAddress, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from tests.natkit.relay.rig import Rig, address_of, received

TRANSACTION = b"0123456789ab"
PLAIN = Message.request(Method.BINDING, TRANSACTION)
SOFTWARE = Message.request(Method.BINDING, TRANSACTION, Software("x"))
BINDING = PLAIN.encode()
CHANNEL = 0x4000
STREAM = Path(Transport.TCP, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))
FAMILIES = [
    pytest.param(socket.AF_INET, id="ipv4"),
    pytest.param(socket.AF_INET6, id="ipv6"),
]


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


def channel_data(data: bytes, number: int = CHANNEL, padding: int = 0) -> bytes:
    return number.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data + bytes(padding)


def send_indication(peer: Address, data: bytes) -> bytes:
    return Message.indication(Method.SEND, TRANSACTION, XorPeerAddress(peer), Data(data)).encode()


class Relayed:
    """A client with an allocation, a peer that it may talk to, and a channel between them."""

    def __init__(
        self,
        rig: Rig,
        client_family: socket.AddressFamily = socket.AF_INET,
        relay_family: socket.AddressFamily = socket.AF_INET,
        *,
        channel: bool = True,
    ) -> None:
        self.client = rig.new_socket(client_family)
        self.listener = rig.listen(client_family)
        self.allocation, self.address = rig.allocate(self.client, self.listener, relay_family)
        self.peer = rig.new_socket(relay_family)
        self.peer_address = address_of(self.peer)
        rig.plane.permit(self.allocation, self.peer_address.host, 1_300.0)
        if channel:
            rig.plane.bind_channel(self.allocation, CHANNEL, self.peer_address, 1_600.0)
        self._rig = rig

    def up(self, packet: bytes) -> list[tuple[bytes, Address]]:
        """What the peer gets when the client sends ``packet``."""
        self.client.sendto(packet, self.listener)
        self._rig.turn()
        return received(self.peer)

    def down(self, data: bytes, source: socket.socket | None = None) -> list[bytes]:
        """What the client gets when the peer sends ``data``."""
        (source or self.peer).sendto(data, self.address)
        self._rig.turn()
        taken = received(self.client)
        assert all(sender == self.listener for _, sender in taken)
        return [data for data, _ in taken]

    @property
    def counters(self) -> Counters:
        return self._rig.plane.counters(self.allocation)


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


class TestStream:
    """Clients on TCP: the shell cuts messages out of the stream and gives a way to write."""

    def test_channel_data_is_relayed_both_ways_with_padding_towards_the_client(
        self, rig: Rig
    ) -> None:
        written: list[bytes] = []
        allocation, relayed = rig.allocate_stream(STREAM, written)
        peer = rig.new_socket()
        rig.plane.permit(allocation, "127.0.0.1", 1_300.0)
        rig.plane.bind_channel(allocation, CHANNEL, address_of(peer), 1_600.0)
        assert rig.plane.relay_from(STREAM, channel_data(b"hello", padding=3), rig.now)
        assert received(peer) == [(b"hello", relayed)]
        for data in (b"", b"1", b"12", b"123", b"1234"):
            peer.sendto(data, relayed)
            rig.turn()
            assert written.pop() == channel_data(data, padding=-len(data) % 4)
        assert rig.plane.counters(allocation) == Counters(1, 5, 5, 10)

    def test_channel_data_over_dtls_is_not_padded(self, rig: Rig) -> None:
        """It is datagrams, as UDP is (RFC 8656 §12.5)."""
        written: list[bytes] = []
        client = STREAM._replace(transport=Transport.DTLS)
        allocation, relayed = rig.allocate_stream(client, written)
        peer = rig.new_socket()
        rig.plane.permit(allocation, "127.0.0.1", 1_300.0)
        rig.plane.bind_channel(allocation, CHANNEL, address_of(peer), 1_600.0)
        for data in (b"", b"1", b"12", b"123", b"1234"):
            assert rig.plane.relay_from(client, channel_data(data), rig.now)
            assert received(peer) == [(data, relayed)]
            peer.sendto(data, relayed)
            rig.turn()
            assert written.pop() == channel_data(data)

    def test_what_waits_is_written_at_once_over_tcp_and_each_by_itself_over_tls_and_dtls(
        self, rig: Rig
    ) -> None:
        packets = [b"1", b"12", b"123"]
        padded = [channel_data(data, padding=-len(data) % 4) for data in packets]
        expected = {
            STREAM: [b"".join(padded)],
            STREAM._replace(transport=Transport.TLS): padded,
            STREAM._replace(transport=Transport.DTLS): [channel_data(data) for data in packets],
        }
        for client, writes in expected.items():
            written: list[bytes] = []
            allocation, relayed = rig.allocate_stream(client, written)
            peer = rig.new_socket()
            rig.plane.permit(allocation, "127.0.0.1", 1_300.0)
            rig.plane.bind_channel(allocation, CHANNEL, address_of(peer), 1_600.0)
            for data in packets:
                peer.sendto(data, relayed)
            rig.plane._relay([rig.plane._allocations[allocation].endpoint.descriptor])
            assert written == writes
            assert rig.plane.counters(allocation).packets_to_clients == 3

    def test_indications_are_relayed_both_ways(self, rig: Rig) -> None:
        written: list[bytes] = []
        allocation, relayed = rig.allocate_stream(STREAM, written)
        peer = rig.new_socket()
        rig.plane.permit(allocation, "127.0.0.1", 1_300.0)
        packet = send_indication(address_of(peer), b"hello")
        assert rig.plane.relay_from(STREAM, packet, rig.now)
        assert received(peer) == [(b"hello", relayed)]
        peer.sendto(b"back", relayed)
        rig.turn()
        message = Message.parse(written.pop())
        assert message.attributes == (XorPeerAddress(address_of(peer)), Data(b"back"))

    def test_everything_else_is_for_the_machine(self, rig: Rig) -> None:
        written: list[bytes] = []
        allocation, _ = rig.allocate_stream(STREAM, written)
        stranger = STREAM._replace(remote=Address("127.0.0.1", 50_001))
        unpermitted = send_indication(Address("127.0.0.1", 9), b"hello")
        assert not rig.plane.relay_from(STREAM, BINDING, rig.now)
        assert not rig.plane.relay_from(STREAM, b"\x40\0\0", rig.now)
        assert not rig.plane.relay_from(STREAM, unpermitted, rig.now)
        assert not rig.plane.relay_from(stranger, channel_data(b"hello"), rig.now)
        assert not rig.plane.relay_from(STREAM, channel_data(b"hello"), 2_000.0)
        assert rig.plane.counters(allocation) == Counters()

    def test_drops_are_counted(self, rig: Rig) -> None:
        allocation, _ = rig.allocate_stream(STREAM, [])
        rig.plane.bind_channel(allocation, CHANNEL, Address("127.0.0.1", 0), 1_600.0)
        rig.plane.bind_channel(
            allocation, 0x4001, Address("127.0.0.1", 9), 1_600.0, only_relayed=True
        )
        for packet in (
            channel_data(b"no port"),
            channel_data(b"only relayed", 0x4001),
            channel_data(b"unbound", 0x4002),
            channel_data(b"cut off")[:-1],
        ):
            assert rig.plane.relay_from(STREAM, packet, rig.now)
        assert rig.plane.counters(allocation) == Counters(
            dropped_send_failed=1,
            dropped_no_permission=1,
            dropped_no_channel=1,
            dropped_malformed=1,
        )


def test_what_the_system_refuses_to_send_is_counted_and_the_rest_goes_on(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.bind_channel(relayed.allocation, 0x4001, Address("127.0.0.1", 0), 1_600.0)
    for packet in (channel_data(b"a"), channel_data(b"b", 0x4001), channel_data(b"c")):
        relayed.client.sendto(packet, relayed.listener)
    rig.turn()
    assert [data for data, _ in received(relayed.peer)] == [b"a", b"c"]
    assert relayed.counters == Counters(packets_to_peers=2, bytes_to_peers=2, dropped_send_failed=1)


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize(("family", "size"), [(socket.AF_INET, 65_507), (socket.AF_INET6, 65_527)])
def test_data_too_long_to_be_framed_for_the_client_is_counted(
    rig: Rig, family: socket.AddressFamily, size: int, *, channel: bool
) -> None:
    relayed = Relayed(rig, relay_family=family, channel=channel)
    relayed.peer.sendto(b"x" * size, relayed.address)
    assert len(relayed.down(b"short")) == 1
    assert relayed.counters == Counters(
        packets_to_clients=1, bytes_to_clients=5, dropped_send_failed=1
    )


def test_a_full_send_buffer_drops_and_counts_and_keeps_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    relayed = Relayed(rig)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "sendmmsg", lambda *_: -1)
        patch.setattr(batch, "last_error", lambda: errno.EAGAIN)
        patch.setattr(socket.socket, "sendto", _full)
        _fill(relayed)
        rig.turn()
    rig.turn()
    assert received(relayed.peer) == received(relayed.client) == []
    assert relayed.counters == Counters(dropped_send_failed=6)


def _full(*_: object) -> int:
    raise BlockingIOError(errno.EAGAIN, "full")


def _fill(relayed: Relayed) -> None:
    # By sendmsg, since sendto is what the test breaks.
    for _ in range(3):
        relayed.client.sendmsg([channel_data(b"up")], [], 0, relayed.listener)
        relayed.peer.sendmsg([b"down"], [], 0, relayed.address)


def test_one_flooded_allocation_leaves_the_others_their_turn(rig: Rig) -> None:
    flooded, quiet = Relayed(rig), Relayed(rig)
    for _ in range(3 * CAPACITY):
        flooded.peer.sendto(b"flood", flooded.address)
    quiet.peer.sendto(b"hello", quiet.address)
    descriptors = [
        rig.plane._allocations[each.allocation].endpoint.descriptor for each in (flooded, quiet)
    ]
    rig.plane._relay(descriptors)
    # One pass: one batch of the flood at most, and the quiet one's packet.
    assert [data for data, _ in received(quiet.client)] == [channel_data(b"hello")]
    assert 0 < len(received(flooded.client)) <= CAPACITY


def test_packets_for_several_listeners_leave_from_the_right_one(rig: Rig) -> None:
    relays = [Relayed(rig) for _ in range(4)]
    for round_number in range(3):
        for relayed in relays:
            relayed.peer.sendto(bytes([round_number]), relayed.address)
    rig.turn()
    for relayed in relays:
        assert received(relayed.client) == [
            (channel_data(bytes([number])), relayed.listener) for number in range(3)
        ]


def test_the_machine_may_close_the_allocation_whose_packets_lie_in_the_same_batch(
    rig: Rig,
) -> None:
    relayed = Relayed(rig)
    rig.plane.on_unhandled = lambda *_: rig.plane.close(relayed.allocation)
    relayed.client.sendto(b"\0" * 20, relayed.listener)
    relayed.client.sendto(channel_data(b"hello"), relayed.listener)
    relayed.client.sendto(BINDING, relayed.listener)
    rig.turn()
    assert [data for data, _ in received(relayed.peer)] == [b"hello"]
    assert len(received(relayed.client)) == 1
    assert rig.plane.totals().packets_to_peers == 1


def test_the_machine_may_stop_the_plane_from_within(rig: Rig) -> None:
    relayed, other = Relayed(rig), Relayed(rig)
    rig.plane.on_unhandled = lambda *_: rig.plane.stop()
    for each in (relayed, other):
        each.client.sendto(b"\0" * 20, each.listener)
        each.client.sendto(BINDING, each.listener)
    rig.turn()
    assert rig.reactor.watched == 0


def test_an_error_of_the_machine_leaves_the_plane_serving(rig: Rig) -> None:
    relayed = Relayed(rig)

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    rig.plane.on_unhandled = fail
    relayed.client.sendto(b"\0" * 20, relayed.listener)
    relayed.client.sendto(channel_data(b"hello"), relayed.listener)
    with pytest.raises(RuntimeError, match="a bug"):
        rig.turn()
    assert [data for data, _ in received(relayed.peer)] == [b"hello"]
    assert relayed.up(channel_data(b"again")) == [(b"again", relayed.address)]


def test_closing_frees_socket_and_client_and_keeps_the_count(rig: Rig) -> None:
    relayed = Relayed(rig)
    relayed.up(channel_data(b"hello"))
    rig.plane.close(relayed.allocation)
    rig.plane.close(relayed.allocation)
    with pytest.raises(MisuseError, match="not open"):
        rig.plane.counters(relayed.allocation)
    assert rig.plane.totals() == Counters(packets_to_peers=1, bytes_to_peers=5)
    # The port is free again, and the client may come back.
    again = rig.new_socket()
    again.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(relayed.address)
    assert rig.allocate(relayed.client, relayed.listener)[0] != relayed.allocation


def test_refused_networks_lose_their_permissions_and_channels(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.permit(relayed.allocation, "127.0.0.2", 1_300.0)
    rig.plane.refuse([ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")])
    assert relayed.up(channel_data(b"hello")) == []
    assert relayed.down(b"hello") == []
    assert relayed.counters == Counters(dropped_no_channel=1, dropped_no_permission=1)
    assert len(relayed.down(b"hello", rig.new_socket(host="127.0.0.2"))) == 1


class TestSend:
    """What the machine itself sends leaves from the plane's sockets."""

    def test_from_a_listener_and_from_a_relayed_address(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        to_client = Path(Transport.UDP, relayed.listener, address_of(relayed.client))
        to_peer = Path(Transport.UDP, relayed.address, relayed.peer_address)
        assert rig.plane.send(b"answer", to_client)
        assert rig.plane.send(b"data", to_peer)
        assert rig.plane.send(b"whole", to_peer, dont_fragment=True)
        assert received(relayed.client) == [(b"answer", relayed.listener)]
        assert received(relayed.peer) == [
            (b"data", relayed.address),
            (b"whole", relayed.address),
        ]

    def test_from_an_unknown_address_or_to_nowhere_is_refused(self, rig: Rig) -> None:
        listener = rig.listen()
        nowhere = Path(Transport.UDP, listener, Address("127.0.0.1", 0))
        unknown = Path(Transport.UDP, Address("127.0.0.1", 1), listener)
        assert not rig.plane.send(b"data", nowhere)
        assert not rig.plane.send(b"data", unknown)


class TestMisuse:
    def test_a_wildcard_listener(self, rig: Rig) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", 0))
            with pytest.raises(MisuseError, match="names no one address"):
                rig.plane.listen(sock, BindingPolicy())

    def test_an_allocation_on_no_listener(self, rig: Rig) -> None:
        with pytest.raises(MisuseError, match="does not listen on"):
            rig.allocate(rig.new_socket(), Address("127.0.0.1", 1))

    def test_a_second_allocation_of_a_client(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        with pytest.raises(MisuseError, match="has an allocation already"):
            rig.allocate(relayed.client, relayed.listener)
        rig.allocate_stream(STREAM, [])
        with pytest.raises(MisuseError, match="has an allocation already"):
            rig.allocate_stream(STREAM, [])

    def test_an_identifier_used_twice(self, rig: Rig) -> None:
        relayed = Relayed(rig)
        path = Path(Transport.UDP, relayed.listener, Address("127.0.0.1", 9))
        with pytest.raises(MisuseError, match="is open already"):
            rig.plane.open(relayed.allocation, path, rig.new_socket(), 2_000.0)

    def test_changes_to_an_allocation_that_is_not_open(self, rig: Rig) -> None:
        with pytest.raises(MisuseError, match="allocation 99 is not open"):
            rig.plane.extend(99, 2_000.0)
        with pytest.raises(MisuseError, match="not open"):
            rig.plane.permit(99, "127.0.0.1", 2_000.0)
        with pytest.raises(MisuseError, match="not open"):
            rig.plane.bind_channel(99, CHANNEL, Address("127.0.0.1", 9), 2_000.0)


def test_allocations_cost_the_event_loop_nothing_on_linux() -> None:
    rig = Rig(portable=not HAVE_MMSG)
    listener = rig.listen()
    before = rig.reactor.watched
    for _ in range(50):
        rig.allocate(rig.new_socket(), listener)
    assert rig.reactor.watched == (before if HAVE_MMSG else before + 50)
    rig.close()


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_runs_on_asyncio_and_on_uvloop(factory: object, *, portable: bool) -> None:
    assert callable(factory)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_echo_through_a_plane(portable=portable))


async def _echo_through_a_plane(*, portable: bool) -> None:
    loop = asyncio.get_running_loop()
    plane: RelayPlane = UserspacePlane(
        loop, lambda *_: None, random=bytes, clock=loop.time, portable=portable
    )
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    plane.listen(listener, BindingPolicy())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.setblocking(False)
        client.sendto(BINDING, listener.getsockname())
        async with asyncio.timeout(5):
            data = await loop.sock_recv(client, 100)
        assert Message.parse(data).get(XorMappedAddress) == XorMappedAddress(address_of(client))
    plane.stop()


def test_names_of_sockets_are_what_the_kernel_calls_them() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert sockaddr.from_python(sock.getsockname()) == sockaddr.pack(address_of(sock))


def test_counters_add_up_field_by_field() -> None:
    names = [field.name for field in fields(Counters)]
    sum_of_both = Counters(**{name: place for place, name in enumerate(names, 1)})
    sum_of_both.add(Counters(**{name: 100 * place for place, name in enumerate(names, 1)}))
    assert sum_of_both == Counters(**{name: 101 * place for place, name in enumerate(names, 1)})
