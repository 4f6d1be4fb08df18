"""Bandwidth in shared memory: what processes let pass together is what one would alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest

from natkit.errors import MisuseError
from natkit.relay.rates import SMALLEST_BURST, burst_of, pass_through
from natkit.server.shared_rates import LEASE, SharedBucket, SharedRates
from natkit.server.shared_table import SLOTS

RATE = 1_000_000
WORKERS = 3
# Lets pass what it may of a clock that runs from 0 to 10, in steps of a millisecond.
_PASSER = """
import sys
from natkit.server.shared_rates import SharedRates
rates = SharedRates(int(sys.argv[1]), int(sys.argv[2]))
bucket, _ = rates.open("alice", int(sys.argv[3]))
print(flush=True)
sys.stdin.readline()
passed = 0
for step in range(10_001):
    while bucket.has(1_200, step / 1000):
        bucket.take(1_200)
        passed += 1_200
print(passed, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def rates() -> Iterator[SharedRates]:
    made = SharedRates.create(names=100, workers=WORKERS)
    yield made
    made.close()


@pytest.fixture
def each(rates: SharedRates) -> Iterator[list[SharedRates]]:
    """Those of every worker."""
    made = [SharedRates(os.dup(rates.descriptor), number) for number in range(WORKERS)]
    yield made
    for worker in made:
        worker.close()


def opened(rates: SharedRates, name: str, rate: int = RATE) -> tuple[SharedBucket, SharedBucket]:
    pair = rates.open(name, rate)
    assert pair is not None
    return pair


@pytest.mark.parametrize("seed", range(5))
def test_no_span_of_time_lets_more_pass_than_one_share_and_one_burst_whoever_asks(
    each: list[SharedRates], seed: int
) -> None:
    random = Random(seed)
    buckets = [opened(rates, "alice")[0] for rates in each]
    now, passed = 1_000.0, 0
    while now < 1_020.0:
        size = random.choice((1, 172, 1_200, 60_000))
        if pass_through((random.choice(buckets),), size, now):
            passed += size
        assert passed <= RATE * (now - 1_000.0) + burst_of(RATE)
        now += random.expovariate(400)
    # More than that was offered, and of the allowance little was lost: what each has drawn ahead.
    assert passed >= 0.95 * RATE * 20


def test_one_that_is_idle_keeps_no_more_from_the_others_than_it_drew(
    each: list[SharedRates],
) -> None:
    idle, busy = (opened(rates, "alice")[0] for rates in each[:2])
    assert pass_through((idle,), 1, 0.0)
    passed = 0
    while pass_through((busy,), 1_000, 0.0):
        passed += 1_000
    assert burst_of(RATE) - RATE * LEASE - 1_000 <= passed <= burst_of(RATE) - 1


def test_names_and_directions_have_buckets_of_their_own(each: list[SharedRates]) -> None:
    to_peers, to_clients = opened(each[0], "alice")
    others, _ = opened(each[0], "bob")
    burst = burst_of(RATE)
    for bucket in (to_peers, to_clients, others):
        assert pass_through((bucket,), burst, 0.0)
        assert not pass_through((bucket,), 1, 0.0)


def test_a_low_rate_lets_the_largest_datagram_pass_at_one_of_them(each: list[SharedRates]) -> None:
    first, second = (opened(rates, "alice", 1)[0] for rates in each[:2])
    assert pass_through((first,), SMALLEST_BURST, 0.0)
    assert not pass_through((second,), SMALLEST_BURST, 60.0)


def test_what_was_drawn_and_not_used_comes_back(each: list[SharedRates]) -> None:
    pair = opened(each[0], "alice")
    other, _ = opened(each[1], "alice")
    assert pass_through((pair[0],), 1_000, 0.0)
    each[0].shut("alice", pair)
    assert pass_through((other,), burst_of(RATE) - 1_000, 0.0)
    assert not pass_through((other,), 1, 0.0)


def test_another_rate_holds_from_the_next_draw_on(each: list[SharedRates]) -> None:
    bucket, _ = opened(each[0], "alice")
    assert pass_through((bucket,), RATE, 0.0)
    bucket.rate = RATE // 2
    assert not pass_through((bucket,), RATE, 1.0)
    assert pass_through((bucket,), RATE // 2, 2.0)


def test_a_name_that_nobody_has_open_takes_no_room_and_begins_anew(
    rates: SharedRates, each: list[SharedRates]
) -> None:
    for number in range(2_000):
        pair = opened(each[0], f"user {number}")
        assert pass_through((pair[0],), burst_of(RATE), 0.0)
        each[0].shut(f"user {number}", pair)
    # What a process has open that dies is as if it had shut it.
    opened(each[1], "user 0")
    rates.forget(1)
    again, _ = opened(each[2], "user 0")
    assert pass_through((again,), burst_of(RATE), 0.0)


def test_names_beyond_its_room_are_told_so() -> None:
    rates = SharedRates.create(names=1, workers=1)
    worker = SharedRates(os.dup(rates.descriptor), 0)
    found = [worker.open(f"user {number}", RATE) for number in range(SLOTS + 1)]
    assert [pair is None for pair in found] == [False] * SLOTS + [True]
    with pytest.raises(MisuseError):
        rates.open("who is no worker", RATE)
    worker.close()
    rates.close()


def test_processes_that_draw_at_once_let_no_more_pass_than_one(rates: SharedRates) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _PASSER, str(rates.descriptor), str(number), str(RATE)],
            pass_fds=(rates.descriptor,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        passed = 0
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in running:
            assert process.stdout is not None
            passed += int(process.stdout.readline())
        # Their clocks run apart, so that one may fill the bucket while the other still has to ask.
        assert 0.9 * 10 * RATE <= passed <= 10 * RATE + burst_of(RATE)
    finally:
        for process in running:
            process.kill()
            process.communicate()
