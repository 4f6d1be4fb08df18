"""Bandwidth is a number of bytes a second, whatever the packets and the pauses between them."""

import socket
from collections.abc import Iterator
from random import Random

import pytest

from natkit.net.libc import HAVE_MMSG
from natkit.relay.rates import SMALLEST_BURST, Rates, TokenBucket, pass_through
from tests.natkit.relay.relayed import STREAM, Relayed, channel_data, send_indication
from tests.natkit.relay.rig import Rig, address_of, received

RATE = 100_000


@pytest.mark.parametrize("seed", range(5))
def test_no_span_of_time_lets_more_pass_than_its_share_and_one_burst(seed: int) -> None:
    random = Random(seed)
    bucket = TokenBucket(RATE)
    now, passed = 1_000.0, 0
    while now < 1_060.0:
        size = random.choice((1, 172, 1_200, 60_000))
        if pass_through((bucket,), size, now):
            passed += size
        assert passed <= RATE * (now - 1_000.0) + bucket.burst
        now += random.expovariate(200)
    # More than that was offered, and hardly anything of the allowance was lost.
    assert passed >= 0.95 * RATE * 60


def test_a_low_rate_still_lets_the_largest_datagram_pass() -> None:
    bucket = TokenBucket(1)
    assert bucket.burst == SMALLEST_BURST
    assert pass_through((bucket,), 65_535, 0.0)
    assert not pass_through((bucket,), 65_535, 60.0)


def test_what_one_bucket_refuses_is_taken_from_none() -> None:
    small, large = TokenBucket(RATE), TokenBucket(10 * RATE)
    assert pass_through((small, large), RATE, 0.0)
    for _ in range(100):
        assert not pass_through((large, small), RATE, 0.0)
    assert pass_through((large,), 9 * RATE, 0.0)
    assert not pass_through((large,), 1, 0.0)


def test_another_rate_holds_at_once() -> None:
    bucket = TokenBucket(10 * RATE)
    bucket.rate = RATE
    assert not pass_through((bucket,), RATE + 1, 0.0)
    assert pass_through((bucket,), RATE, 0.0)
    assert pass_through((bucket,), RATE // 2, 0.5)


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


def limited() -> Rates:
    return Rates((TokenBucket(RATE),), (TokenBucket(RATE),))


def test_the_plane_drops_and_counts_what_is_over_the_rate_both_ways(rig: Rig) -> None:
    relayed = Relayed(rig)
    rig.plane.limit(relayed.allocation, limited())
    packet = bytes(5_000)
    up = channel_data(packet)
    for _ in range(10):
        for _ in range(3):
            relayed.client.sendto(up, relayed.listener)
            relayed.peer.sendto(packet, relayed.address)
        rig.turn()
    assert len(received(relayed.peer)) == len(received(relayed.client)) == 20
    counters = relayed.counters
    assert (counters.packets_to_peers, counters.packets_to_clients) == (20, 20)
    assert counters.dropped_over_rate == 20
    # Send indications go the same way; half a second later half as much may pass.
    rig.now += 0.5
    indication = send_indication(relayed.peer_address, packet)
    for _ in range(12):
        relayed.client.sendto(indication, relayed.listener)
    rig.turn()
    assert len(received(relayed.peer)) == 10
    rig.plane.limit(relayed.allocation, None)
    for _ in range(12):
        relayed.client.sendto(indication, relayed.listener)
    rig.turn()
    assert len(received(relayed.peer)) == 12


def test_allocations_of_one_user_share_its_rate(rig: Rig) -> None:
    one, other = Relayed(rig), Relayed(rig)
    shared = limited()
    for each in (one, other):
        rig.plane.limit(each.allocation, shared)
        for _ in range(16):
            each.client.sendto(channel_data(bytes(5_000)), each.listener)
        rig.turn()
    assert len(received(one.peer)) == 16
    assert len(received(other.peer)) == 4


def test_a_client_on_a_stream_is_limited_as_well(rig: Rig) -> None:
    written: list[bytes] = []
    peer = rig.new_socket(socket.AF_INET)
    allocation, _ = rig.allocate_stream(STREAM, written)
    rig.plane.permit(allocation, address_of(peer).host, 1_300.0)
    rig.plane.bind_channel(allocation, 0x4000, address_of(peer), 1_600.0)
    rig.plane.limit(allocation, limited())
    for _ in range(24):
        assert rig.plane.relay_from(STREAM, channel_data(bytes(5_000)), rig.now)
    assert len(received(peer)) == 20
    assert rig.plane.counters(allocation).dropped_over_rate == 4
