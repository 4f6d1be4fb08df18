"""How often a source may: a burst, then by and by, in bounded memory."""

import pytest

from natkit.server.admin.throttle import MAX_SOURCES, Throttle


def test_a_source_has_its_burst_and_then_one_an_interval() -> None:
    throttle = Throttle(3, 10.0)
    assert [throttle.allows("192.0.2.1", 0.0) for _ in range(4)] == [True, True, True, False]
    assert throttle.wait("192.0.2.1", 0.0) == pytest.approx(10.0)
    assert not throttle.allows("192.0.2.1", 9.9)
    assert throttle.allows("192.0.2.1", 10.0)
    assert not throttle.allows("192.0.2.1", 10.0)
    assert [throttle.allows("192.0.2.1", 1000.0) for _ in range(4)] == [True, True, True, False]


def test_sources_do_not_hinder_one_another() -> None:
    throttle = Throttle(1, 10.0)
    assert throttle.allows("192.0.2.1", 0.0)
    assert throttle.allows("192.0.2.2", 0.0)
    assert throttle.wait("192.0.2.3", 0.0) == 0


def test_all_that_one_customer_has_of_ipv6_is_one_source() -> None:
    throttle = Throttle(1, 10.0)
    assert throttle.allows("2001:db8:0:1::1", 0.0)
    assert not throttle.allows("2001:db8:0:ff::2", 0.0)
    assert throttle.allows("2001:db8:0:100::1", 0.0)


def test_however_many_come_memory_is_bounded_and_the_known_keep_their_place() -> None:
    throttle = Throttle(2, 10.0)
    for number in range(MAX_SOURCES + 1000):
        throttle.allows(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(throttle) == MAX_SOURCES + 1
    assert not throttle.allows("192.0.2.1", 0.0)
    assert throttle.allows("10.0.0.0", 0.0)
    # Once those are as if they had never come, there is room.
    assert throttle.allows("192.0.2.1", 20.0)
    assert len(throttle) <= 2
