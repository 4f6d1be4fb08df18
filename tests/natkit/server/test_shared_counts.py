"""Counts in shared memory: exact whatever processes do at the same time, and when they die."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from natkit.errors import MisuseError
from natkit.server.shared_counts import SLOTS, SharedCounts
from tests.conftest import Sized

WORKERS = 3
# Adds and takes away at random, and ends holding what it was told to.
_HAMMER = """
import random, sys
from natkit.server.shared_counts import SharedCounts
counts = SharedCounts(int(sys.argv[1]), int(sys.argv[2]))
chance = random.Random(int(sys.argv[2]))
names = [f"user {number}" for number in range(20)]
held = []
for _ in range(int(sys.argv[3])):
    if held and chance.random() < 0.5:
        counts.add(held.pop(chance.randrange(len(held))), -1)
    else:
        held.append(chance.choice(names))
        counts.add(held[-1], 1)
print(*held, sep=",", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def counts() -> Iterator[SharedCounts]:
    made = SharedCounts.create(names=100, workers=WORKERS)
    yield made
    made.close()


def worker(counts: SharedCounts, number: int) -> SharedCounts:
    return SharedCounts(os.dup(counts.descriptor), number)


def test_what_one_process_adds_all_see(counts: SharedCounts) -> None:
    first, second = worker(counts, 0), worker(counts, 2)
    first.add("alice", 2)
    second.add("alice", 1)
    second.add("bob", 4)
    for each in (counts, first, second):
        assert (each.of("alice"), each.of("bob"), each.of("carol")) == (3, 4, 0)
        assert each.in_all() == 7
    first.add("alice", -2)
    second.add("alice", -1)
    assert (counts.of("alice"), counts.in_all()) == (0, 4)
    first.close()
    second.close()


def test_a_process_that_is_gone_takes_what_it_held_and_nothing_else(counts: SharedCounts) -> None:
    first, second = worker(counts, 0), worker(counts, 1)
    for name in ("alice", "bob"):
        first.add(name, 1)
    second.add("alice", 5)
    counts.forget(0)
    assert (counts.of("alice"), counts.of("bob"), counts.in_all()) == (5, 0, 5)
    second.add("alice", -5)
    assert (counts.of("alice"), counts.in_all()) == (0, 0)
    first.close()
    second.close()


def test_names_that_hold_nothing_take_no_room_however_many_come(counts: SharedCounts) -> None:
    only = worker(counts, 0)
    for number in range(20_000):
        only.add(f"user {number}", 1)
        if number >= 100:
            only.add(f"user {number - 100}", -1)
    assert only.in_all() == 100
    assert all(only.of(f"user {number}") == (number >= 19_900) for number in range(19_000, 20_000))
    assert not only._overflow
    only.close()


def test_names_that_find_no_room_are_counted_by_their_own_process() -> None:
    counts = SharedCounts.create(names=1, workers=WORKERS)
    first, second = worker(counts, 0), worker(counts, 1)
    names = [f"user {number}" for number in range(SLOTS + 10)]
    for _ in range(2):
        for name in names:
            first.add(name, 1)
    assert [first.of(name) for name in names] == [2] * len(names)
    assert sum(second.of(name) for name in names) == 2 * SLOTS
    assert second.in_all() == 2 * len(names)
    for name in names:
        first.add(name, -2)
    assert [first.of(name) for name in names] == [0] * len(names)
    assert (first.in_all(), first._overflow) == (0, {})
    for each in (counts, first, second):
        each.close()


def test_a_stranger_to_the_counts_is_refused(counts: SharedCounts) -> None:
    for number in (-1, WORKERS):
        with pytest.raises(MisuseError):
            worker(counts, number)
    with pytest.raises(MisuseError):
        counts.add("alice", 1)


def test_processes_that_count_at_once_lose_nothing_and_one_killed_meanwhile_leaves_nothing(
    counts: SharedCounts, sized: Sized
) -> None:
    steps = sized(quick=3_000, full=300_000)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _HAMMER, str(counts.descriptor), str(number), str(rounds)],
            pass_fds=(counts.descriptor,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, rounds in ((0, steps), (1, steps), (2, 1 << 60))
    ]
    try:
        held: Counter[str] = Counter()
        for process in running[:2]:
            assert process.stdout is not None
            held.update(filter(None, process.stdout.readline().strip().split(",")))
        running[2].send_signal(signal.SIGKILL)
        assert running[2].wait() == -signal.SIGKILL
        counts.forget(2)
        assert counts.in_all() == held.total()
        assert {f"user {n}": counts.of(f"user {n}") for n in range(20)} == {
            f"user {n}": held[f"user {n}"] for n in range(20)
        }
    finally:
        for process in running:
            process.kill()
            process.communicate()
