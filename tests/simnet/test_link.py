"""What links do, compared with the binomial expectation: six standard deviations, fixed seeds."""

from functools import partial
from math import sqrt

import pytest

from natkit.address import Address, Family
from tests.simnet import Conditions, Endpoint, LimitReached, Network

MANY = 4_000


def within_six_deviations(observed: int, trials: int, probability: float) -> bool:
    deviation = sqrt(trials * probability * (1 - probability))
    return abs(observed - trials * probability) <= 6 * deviation


class Pair:
    """A sender on a link of given conditions, and a receiver on a perfect one."""

    def __init__(self, seed: int, conditions: Conditions) -> None:
        self.network = Network(seed)
        self.host = self.network.host("sender", "203.0.113.1", "2001:db8::1", link=conditions)
        other = self.network.host(
            "receiver", "203.0.113.2", "2001:db8::2", link=Conditions(delay=0.0)
        )
        self.sender = Endpoint(self.host)
        self.receiver = Endpoint(other)
        self.receiver6 = Endpoint(other, family=Family.IPV6)
        self.sender6 = Endpoint(self.host, family=Family.IPV6)

    def send_many(self, count: int = MANY, interval: float = 0.001) -> list[int]:
        """Send numbered datagrams; the numbers as they came."""
        start = self.network.now
        for number in range(count):
            data = number.to_bytes(4, "big")
            send = partial(self.sender.send, data, self.receiver.address)
            self.network.at(start + number * interval, send)
        self.network.run_until_quiet(count * interval + 60.0)
        return [int.from_bytes(data, "big") for data, _ in self.receiver.received]


def test_a_perfect_link_delivers_everything_once_in_order_after_its_delay() -> None:
    pair = Pair(1, Conditions(delay=0.123))
    assert pair.send_many() == list(range(MANY))
    before = pair.network.now
    pair.sender.send(b"timed", pair.receiver.address)
    pair.network.run_until(lambda: pair.receiver.received[-1][0] == b"timed", limit=1.0)
    assert pair.network.now - before == pytest.approx(0.123)


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3, 0.9])
def test_loss_is_as_frequent_as_asked(loss: float) -> None:
    pair = Pair(2, Conditions(loss=loss))
    arrived = pair.send_many()
    assert within_six_deviations(MANY - len(arrived), MANY, loss)
    assert arrived == sorted(arrived)
    assert pair.host.link.lost == MANY - len(arrived) == pair.network.trace.count("lost")


def test_each_way_loses_on_its_own() -> None:
    pair = Pair(3, Conditions())
    pair.host.link.up = Conditions(loss=1.0)
    assert pair.send_many(10) == []
    pair.receiver.send(b"down", pair.sender.address)
    pair.network.run_until_quiet(1.0)
    assert [data for data, _ in pair.sender.received] == [b"down"]


def test_duplicates_are_as_frequent_as_asked() -> None:
    arrived = Pair(4, Conditions(duplication=0.2)).send_many()
    assert set(arrived) == set(range(MANY))
    assert within_six_deviations(len(arrived) - MANY, MANY, 0.2)


def test_reordering_holds_back_as_many_as_asked_and_loses_none() -> None:
    arrived = Pair(5, Conditions(reordering=0.1, hold=0.0105)).send_many()
    assert sorted(arrived) == list(range(MANY))
    overtaken = sum(
        number < highest
        for number, highest in zip(arrived[1:], _running_maximum(arrived), strict=False)
    )
    assert within_six_deviations(overtaken, MANY, 0.1)


def _running_maximum(numbers: list[int]) -> list[int]:
    highest: list[int] = []
    for number in numbers:
        highest.append(max(number, highest[-1] if highest else number))
    return highest


def test_jitter_spreads_the_delay_evenly() -> None:
    pair = Pair(6, Conditions(delay=0.1, jitter=0.05))
    delays: list[float] = []
    for _ in range(500):
        before = pair.network.now
        pair.sender.send(b"", pair.receiver.address)
        pair.network.run_until_quiet(limit=1.0)
        delays.append(pair.network.now - before)
    assert min(delays) >= 0.1
    assert max(delays) <= 0.15 + 1e-9
    mean = sum(delays) / len(delays)
    assert abs(mean - 0.125) <= 6 * 0.05 / sqrt(12 * len(delays))


def test_a_blackout_loses_what_sets_out_in_it_and_nothing_else() -> None:
    pair = Pair(7, Conditions())
    start = pair.network.now
    pair.host.link.black_out(start + 0.0995, start + 0.2995)
    assert pair.send_many(500) == [*range(100), *range(300, 500)]
    assert pair.network.trace.count("blackout") == 200


def test_conditions_change_when_asked() -> None:
    pair = Pair(8, Conditions(loss=1.0))
    pair.host.link.change_at(pair.network.now + 0.2495, Conditions())
    assert pair.send_many(500) == list(range(250, 500))


@pytest.mark.parametrize(
    ("family", "largest"), [(Family.IPV4, 1280 - 20 - 8), (Family.IPV6, 1280 - 40 - 8)]
)
def test_the_mtu_counts_the_headers(family: Family, largest: int) -> None:
    pair = Pair(9, Conditions(mtu=1280))
    sender, receiver = (
        (pair.sender, pair.receiver) if family is Family.IPV4 else (pair.sender6, pair.receiver6)
    )
    sender.send(bytes(largest), receiver.address)
    sender.send(bytes(largest + 1), receiver.address)
    pair.network.run_until_quiet(1.0)
    assert [len(data) for data, _ in receiver.received] == [largest]


def test_a_change_of_one_condition_leaves_the_other_packets_fates_alone() -> None:
    plain = Pair(10, Conditions(loss=0.3)).send_many(300)
    doubled = Pair(10, Conditions(loss=0.3, duplication=0.5)).send_many(300)
    assert sorted(set(doubled)) == plain


def test_what_is_for_no_one_is_dropped() -> None:
    pair = Pair(11, Conditions())
    pair.sender.send(b"", Address("203.0.113.99", 1))
    with pytest.raises(LimitReached):
        pair.network.run_until(lambda: bool(pair.receiver.received), limit=1.0)
    assert pair.network.trace.count("no route", "internet") == 1
