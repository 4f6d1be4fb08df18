"""What clients send on a stream: taken by the plane as it comes, or cut into messages for above."""

import random
from collections.abc import Iterator

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.net.libc import HAVE_MMSG
from natkit.relay.rates import Rates, TokenBucket
from natkit.stun.framing import StunFraming
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.relay.rig import Rig, address_of

STREAM = Path(Transport.TCP, Address("127.0.0.1", 3478), Address("127.0.0.1", 50_000))
REQUEST = Message.request(Method.REFRESH, bytes(12)).encode()


def channel_data(data: bytes, number: int = 0x4000) -> bytes:
    return number.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data + bytes(-len(data) % 4)


class Stream:
    """An allocation of a client on a stream, with a channel to each of two peers."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.peers = [rig.new_socket(), rig.new_socket()]
        self.allocation, _ = rig.allocate_stream(STREAM, [])
        rig.plane.permit(self.allocation, "127.0.0.1", 2_000.0)
        for number, peer in enumerate(self.peers, 0x4000):
            rig.plane.bind_channel(self.allocation, number, address_of(peer), 2_000.0)
        self.framing = StunFraming()
        self.framing.taker = self.take
        self.left: list[bytes] = []

    def take(self, data: bytes) -> int:
        return self.rig.plane.relay_stream(STREAM, data, self.rig.now)

    def feed(self, data: bytes) -> None:
        for message in self.framing.receive(data):
            if not self.rig.plane.relay_from(STREAM, message, self.rig.now):
                self.left.append(message)

    def received(self, peer: int) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(self.peers[peer].recv(65_535))
        except BlockingIOError:
            return found


@pytest.fixture(params=[False, True] if HAVE_MMSG else [True], ids=lambda it: f"portable={it}")
def stream(request: pytest.FixtureRequest) -> Iterator[Stream]:
    rig = Rig(portable=request.param)
    yield Stream(rig)
    rig.close()


def test_channel_data_is_relayed_in_order_and_to_the_last_byte(stream: Stream) -> None:
    whole = b"".join(channel_data(bytes([place]) * 50) for place in range(200))
    assert stream.take(whole) == len(whole)
    assert stream.received(0) == [bytes([place]) * 50 for place in range(200)]
    counters = stream.rig.plane.counters(stream.allocation)
    assert (counters.packets_to_peers, counters.bytes_to_peers) == (200, 10_000)


def test_what_is_no_channel_data_is_left_with_all_that_follows(stream: Stream) -> None:
    first = channel_data(b"first")
    assert stream.take(first + REQUEST + channel_data(b"second")) == len(first)
    assert stream.take(REQUEST) == 0
    assert stream.received(0) == [b"first"]


@pytest.mark.parametrize("missing", range(1, 12))
def test_a_message_that_is_not_whole_is_left(stream: Stream, missing: int) -> None:
    first, second = channel_data(b"first"), channel_data(b"second")
    assert stream.take((first + second)[:-missing]) == len(first)
    assert stream.received(0) == [b"first"]


def test_data_on_a_channel_that_is_not_bound_is_counted_and_gone(stream: Stream) -> None:
    data = channel_data(b"lost", 0x4444) + channel_data(b"found")
    assert stream.take(data) == len(data)
    assert stream.received(0) == [b"found"]
    assert stream.rig.plane.counters(stream.allocation).dropped_no_channel == 1


def test_a_stream_without_a_living_allocation_is_left_whole(stream: Stream) -> None:
    data = channel_data(b"early")
    other = Path(Transport.TCP, STREAM.local, Address("127.0.0.1", 50_001))
    assert stream.rig.plane.relay_stream(other, data, stream.rig.now) == 0
    stream.rig.now = 2_000.0
    assert stream.take(data) == 0
    assert stream.received(0) == []


def test_data_over_the_rate_is_taken_and_dropped(stream: Stream) -> None:
    bucket = TokenBucket(1)
    stream.rig.plane.limit(stream.allocation, Rates((bucket,), ()))
    data = channel_data(bytes(40_000)) * 3
    assert stream.take(data) == len(data)
    assert len(stream.received(0)) == 1
    assert stream.rig.plane.counters(stream.allocation).dropped_over_rate == 2


def test_any_stream_however_it_is_cut_is_relayed_as_message_by_message(stream: Stream) -> None:
    chosen = random.Random(5_766)
    for _ in range(60):
        to_peers: tuple[list[bytes], list[bytes]] = [], []
        requests: list[bytes] = []
        whole = b""
        for _ in range(chosen.randrange(1, 60)):
            match chosen.randrange(5):
                case 0:
                    requests.append(Message.request(Method.REFRESH, chosen.randbytes(12)).encode())
                    whole += requests[-1]
                case 1:
                    whole += channel_data(b"unbound", 0x4F00)
                case _:
                    peer = chosen.randrange(2)
                    data = chosen.randbytes(chosen.choice([0, 1, 172, 172, 172, 1_200]))
                    to_peers[peer].append(data)
                    whole += channel_data(data, 0x4000 + peer)
        while whole:
            cut = chosen.choice([1, 3, 100, 5_000, 100_000])
            stream.feed(whole[:cut])
            whole = whole[cut:]
        assert stream.framing.buffered == 0
        assert stream.left == requests
        assert (stream.received(0), stream.received(1)) == to_peers
        stream.left = []
