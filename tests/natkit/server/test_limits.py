"""What a source may cost, in memory that no number of sources changes."""

import random
import tracemalloc
from ipaddress import ip_address

import pytest

from natkit.relay.source_memory import SourceMemory
from natkit.server.limits import MEMORY, RENEWAL, SLOTS, SourceLimits, SourceRates

PACKETS, BURST = 100, 1_000
RATES = SourceRates(PACKETS, BURST)


def limits(seed: int = 1, rates: SourceRates = RATES) -> SourceLimits:
    return SourceLimits(rates, random.Random(seed).randbytes)


def host(text: str) -> bytes:
    return ip_address(text).packed


def forged(number: int) -> bytes:
    """A source of its own /24."""
    return (number << 8 | 7).to_bytes(4, "big")


@pytest.mark.parametrize("burst", [1, 7, 1_000])
def test_no_source_has_more_packets_in_a_second_than_the_limit(burst: int) -> None:
    each = limits()
    sent = passed = 0
    while sent < 5_000:
        whole = each.admits_all(burst, 10.0 + sent / 10_000)
        sent += burst
        passed += sum(whole or each.admits_counted(host("192.0.2.7")) for _ in range(burst))
    assert passed <= PACKETS
    assert passed >= PACKETS // 2
    assert each.packets_dropped == sent - passed


def test_a_source_alone_has_the_whole_limit_and_has_it_again_a_second_later() -> None:
    each = limits()
    for second in range(3):
        passed = sum(each.admits(host("192.0.2.7"), 5.5 + second) for _ in range(PACKETS + 50))
        assert passed == PACKETS


def test_a_flood_of_one_source_takes_nothing_from_another() -> None:
    each = limits()
    for _ in range(10 * PACKETS):
        each.admits(host("192.0.2.7"), 1.0)
    assert all(each.admits(host("198.51.100.7"), 1.0) for _ in range(PACKETS // 2))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.255", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("2001:db8:1:200::1", "2001:db8:1:2ff:ffff::1", True),
        ("2001:db8:1:200::1", "2001:db8:1:300::1", False),
    ],
)
def test_a_source_is_an_ipv4_24_or_an_ipv6_56(one: str, other: str, *, same: bool) -> None:
    each = limits()
    while each.admits(host(one), 1.0):
        pass
    assert each.admits(host(other), 1.0) is not same


def test_sources_that_forge_one_another_meet_in_few_places() -> None:
    """60,000 sources, none of which comes near its limit, do not keep a client out."""
    each = limits(rates=SourceRates(20, BURST))
    for number in range(60_000):
        each.admits(forged(number), 1.0)
    clients = [forged(0x800000 + number) for number in range(1_000)]
    assert sum(each.admits(client, 1.0) for client in clients) >= 990


def test_an_answer_is_paid_for_by_its_request_or_by_the_burst() -> None:
    each = limits()
    sent = received = 0
    for _ in range(1_000):
        received += 20
        if each.may_answer(host("192.0.2.7"), 20, 90, 1.0):
            sent += 90
        assert sent <= 2 * received + BURST
    # What was received but not answered is not lost: the ratio is used up.
    assert sent >= 2 * received
    assert each.answers_dropped > 0


def test_small_answers_are_never_refused_and_pay_for_nothing() -> None:
    each = limits()
    for _ in range(10_000):
        assert each.may_answer(host("192.0.2.7"), 20, 40, 1.0)
    assert not each.may_answer(host("192.0.2.7"), 20, 41 + BURST, 1.0)


def test_what_a_user_sends_pays_for_the_challenges_of_its_source() -> None:
    each = limits()
    while each.may_answer(host("192.0.2.7"), 28, 90, 1.0):
        pass
    each.earn(host("192.0.2.9"), 150, 1.0)
    assert each.may_answer(host("192.0.2.7"), 28, 90, 1.0)


def test_the_burst_comes_again_and_nothing_is_saved_up() -> None:
    each = limits()
    each.earn(host("192.0.2.7"), 1_000_000, 1.0)
    later = 1.0 + RENEWAL
    sent = 0
    while each.may_answer(host("192.0.2.7"), 0, 10, later):
        sent += 10
    assert sent == BURST


def test_no_number_of_sources_takes_memory() -> None:
    each = limits()
    each.admits(host("192.0.2.7"), 1.0)
    each.may_answer(host("192.0.2.7"), 0, 1, 1.0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            source = number.to_bytes(3, "big") + b"\7"
            now = 1.0 + number / 100
            each.admits(source, now)
            each.may_answer(source, 28, 90, now)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before <= 4_096
    assert peak - before <= 4_096
    assert MEMORY == SLOTS * 16


def test_who_count_in_the_same_memory_have_one_limit_together() -> None:
    one, other = limits(1), limits(2)
    memory = SourceMemory.own()
    one.keep_in(memory)
    other.keep_in(memory)
    source = host("192.0.2.7")
    passed = sum(each.admits(source, 1.0) for _ in range(PACKETS) for each in (one, other))
    assert passed == PACKETS
    assert one.may_answer(source, 0, BURST, 1.0)
    assert not other.may_answer(source, 0, 1, 1.0)
    other.rates = SourceRates(2 * PACKETS, BURST)
    assert sum(one.admits(source, 2.0) for _ in range(3 * PACKETS)) == 2 * PACKETS
