"""Allocations of clients that are on a connection: messages in, framed data out."""

from natkit.address import Address
from natkit.machine import Transport
from natkit.relay.plane import Counters
from natkit.relay.readiness import READABLE
from natkit.stun.attributes import Data, XorPeerAddress
from natkit.stun.message import Message
from tests.natkit.relay.relayed import (
    BINDING,
    CHANNEL,
    STREAM,
    channel_data,
    send_indication,
)
from tests.natkit.relay.rig import Rig, address_of, received


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
            descriptor = rig.plane._allocations[allocation].endpoint.descriptor
            rig.plane._relay([(descriptor, READABLE)])
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
