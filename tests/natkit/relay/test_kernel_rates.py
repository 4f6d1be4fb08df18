"""Bandwidth in the kernel: the same buckets as in user space."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from natkit.relay.attaching import Mode
from natkit.relay.kernel_buckets import KernelBucket, KernelBuckets
from natkit.relay.kernel_tables import TableSizes
from natkit.relay.rates import SMALLEST_BURST, Rates, TokenBucket, pass_through
from natkit.turn.channel_data import ChannelData
from tests.natkit.relay.cabled import NOW, SMALL, Cabled, inside
from tests.natkit.relay.frames import Frame
from tests.natkit.relay.rig import address_of
from tests.natkit.relay.test_kernel import CHANNEL, Pair, got, nothing_came
from tests.natkit.relay.twins import FAR, NEAR, on_one_processor
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

PACKET = bytes(1_000)
RATE = 1_000
PROCESSORS = os.sched_getaffinity(0)
# A byte takes a nanosecond.
FAST, REPEATED = 1_000_000_000, 100_000
AT_ONCE = SMALLEST_BURST // len(PACKET)


@pytest.fixture(autouse=True)
def _one_processor() -> Iterator[None]:
    with on_one_processor():
        yield


@pytest.fixture(name="cabled", params=[SMALL, TableSizes(64, 64, 64, buckets=1)])
def with_room_or_without(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Cabled]:
    """A plane that has buckets in the kernel, and one whose table is full."""
    cabled = Cabled(lab, Mode.NATIVE, sizes=request.param)
    yield cabled
    cabled.close()


def test_a_user_has_its_bandwidth_whoever_relays(cabled: Cabled) -> None:
    pair = Pair(cabled)
    cabled.plane.limit(pair.number, cabled.rates("alice", rate=RATE))
    for _ in range(AT_ONCE):
        pair.send(PACKET)
        cabled.turn()
        assert got(pair.peer) == PACKET
    pair.send(PACKET)
    cabled.turn()
    assert nothing_came(cabled, pair.peer)
    # The other way has a bucket of its own.
    pair.answer(PACKET)
    cabled.turn()
    assert got(pair.client) == ChannelData(CHANNEL, PACKET).encode(padded=False)
    cabled.set_clock(NOW + 2)
    for _ in range(2):
        pair.send(PACKET)
        cabled.turn()
        assert got(pair.peer) == PACKET
    counters = cabled.plane.counters(pair.number)
    assert counters.packets_to_peers == AT_ONCE + 2
    assert counters.dropped_over_rate == 1
    has_room = cabled.sizes is SMALL
    assert (cabled.behind.counters(pair.number).packets_to_peers == 0) == has_room


def test_user_space_draws_from_the_same_bucket(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE)
    try:
        pair = Pair(cabled)
        rates = cabled.rates("alice", rate=RATE)
        cabled.plane.limit(pair.number, rates)
        assert pass_through(rates.to_peers, SMALLEST_BURST - len(PACKET), NOW)
        pair.send(PACKET)
        assert got(pair.peer) == PACKET
        assert not pass_through(rates.to_peers, 600, NOW + 0.5)
        assert pass_through(rates.to_peers, 500, NOW + 0.5)
        # What is not limited any more passes as it comes.
        pair.send(PACKET)
        assert nothing_came(cabled, pair.peer)
        cabled.plane.limit(pair.number, None)
        pair.send(PACKET)
        assert got(pair.peer) == PACKET
        assert cabled.behind.totals().packets_to_peers == 0
    finally:
        cabled.close()


def test_what_processors_draw_at_once_is_drawn_in_full(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE)
    try:
        pair, other = Pair(cabled), Pair(cabled)
        rates = cabled.rates("alice", "all", rate=FAST)
        cabled.plane.limit(pair.number, rates)
        # What comes to the other's relayed address is dropped there, and the frame stays as it is.
        cabled.plane.permit(pair.number, other.relayed.host, NOW + 300)
        cabled.plane.bind_channel(pair.number, CHANNEL, other.relayed, NOW + 300)
        source, listener = address_of(pair.client), pair.listener
        data = ChannelData(CHANNEL, b"12345678").encode(padded=False)
        frame = Frame(NEAR["left"], FAR["left"], source[:2], listener[:2], data).encode()

        begin = Barrier(2)

        def draw(processor: int, interface: int) -> None:
            os.sched_setaffinity(0, {processor})
            begin.wait()
            cabled.relay.program.run(frame, interface, repeat=REPEATED)

        with inside(cabled.server), ThreadPoolExecutor(2) as pool:
            interface = socket.if_nametoindex("clients")
            processors = (min(PROCESSORS), max(PROCESSORS))
            for done in [pool.submit(draw, each, interface) for each in processors]:
                done.result()
        assert cabled.plane.counters(pair.number).packets_to_peers == 2 * REPEATED
        left = FAST - 2 * REPEATED * 8
        for bucket in rates.to_peers:
            assert bucket.has(left, NOW)
            assert not bucket.has(left + 1, NOW)
    finally:
        cabled.close()


def test_buckets_that_the_kernel_does_not_have_are_user_spaces(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE)
    try:
        pair = Pair(cabled)
        own = TokenBucket(RATE)
        for rates in (Rates((own,), (own,)), cabled.rates("one", "all", "more", rate=RATE)):
            cabled.plane.limit(pair.number, rates)
            pair.send(PACKET)
            assert nothing_came(cabled, pair.peer)
            cabled.turn()
            assert got(pair.peer) == PACKET
        assert cabled.behind.totals().packets_to_peers == 2
    finally:
        cabled.close()


def test_a_place_that_is_used_again_is_full(lab: Lab) -> None:
    cabled = Cabled(lab, Mode.NATIVE)
    try:
        assert cabled.tables is not None
        buckets = KernelBuckets(cabled.tables)
        places = cabled.tables.bucket_places
        pairs = [buckets.open(str(number), RATE) for number in range(places + 1)]
        numbers = [
            bucket.number for pair in pairs for bucket in pair if isinstance(bucket, KernelBucket)
        ]
        assert numbers == list(range(1, 2 * places + 1))
        assert pass_through(pairs[3][:1], SMALLEST_BURST, NOW)
        assert not pass_through(pairs[3][:1], SMALLEST_BURST, NOW)
        buckets.shut("3", pairs[3])
        again = buckets.open("another", RATE)
        assert pass_through(again[:1], SMALLEST_BURST, NOW)
        buckets.shut(str(places), pairs[places])
    finally:
        cabled.close()
