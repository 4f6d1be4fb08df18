from itertools import chain

import pytest

from natkit.address import Family
from sipdns.address_order import rank_addresses


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
    assert list(chain(*rank_addresses(best_first[::-1]))) == best_first
    assert list(chain(*rank_addresses(best_first))) == best_first


def test_a_family_without_a_route_comes_last() -> None:
    both = ["2001:db8::1", "192.0.2.1"]
    assert rank_addresses(both, usable=[Family.IPV4]) == [["192.0.2.1"], ["2001:db8::1"]]
    assert rank_addresses(both, usable=[Family.IPV6]) == [["2001:db8::1"], ["192.0.2.1"]]


def test_a_preferred_family_comes_first_but_for_its_route() -> None:
    both = ["2001:db8::1", "192.0.2.1"]
    assert rank_addresses(both, prefer=Family.IPV4) == [["192.0.2.1"], ["2001:db8::1"]]
    ranks = rank_addresses(both, prefer=Family.IPV4, usable=[Family.IPV6])
    assert ranks == [["2001:db8::1"], ["192.0.2.1"]]


def test_equal_addresses_are_of_one_rank_and_each_counts_once() -> None:
    addresses = [f"192.0.2.{index}" for index in range(4)]
    assert rank_addresses([*addresses, "2001:db8::1", *addresses]) == [["2001:db8::1"], addresses]
