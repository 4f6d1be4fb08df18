import random

import pytest

from natkit.address import Family
from sipdns.address_order import order_addresses

draw = random.Random(6724).randrange


@pytest.mark.parametrize(
    "best_first",
    [
        ["2001:db8::1", "192.0.2.1"],
        ["192.0.2.1", "2002:c000:0201::1"],
        ["192.0.2.1", "2001::1"],
        ["192.0.2.1", "fd00::1"],
        ["::1", "2001:db8::1", "192.0.2.1"],
        ["fe80::1", "2001:db8::1"],
        ["10.0.0.1", "2001::1", "fd00::1"],
    ],
)
def test_addresses_follow_the_policy_table_and_scope(best_first: list[str]) -> None:
    assert order_addresses(best_first[::-1], draw) == best_first
    assert order_addresses(best_first, draw) == best_first


def test_a_family_without_a_route_comes_last() -> None:
    both = ["2001:db8::1", "192.0.2.1"]
    assert order_addresses(both, draw, usable=[Family.IPV4]) == ["192.0.2.1", "2001:db8::1"]
    assert order_addresses(both, draw, usable=[Family.IPV6]) == ["2001:db8::1", "192.0.2.1"]


def test_a_preferred_family_comes_first_but_for_its_route() -> None:
    both = ["2001:db8::1", "192.0.2.1"]
    assert order_addresses(both, draw, prefer=Family.IPV4) == ["192.0.2.1", "2001:db8::1"]
    assert order_addresses(both, draw, prefer=Family.IPV4, usable=[Family.IPV6]) == both


def test_equal_addresses_share_the_load() -> None:
    addresses = [f"192.0.2.{index}" for index in range(4)]
    firsts = {order_addresses(addresses, draw)[0] for _ in range(200)}
    assert firsts == set(addresses)
