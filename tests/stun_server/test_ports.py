"""Ports are drawn at random, and found as long as there is one."""

import random
from collections import Counter

import pytest

from stun_server.ports import PortChooser
from stun_server.settings import DYNAMIC_PORTS, PortRange


def chooser(ports: PortRange, seed: int = 7) -> PortChooser:
    return PortChooser(ports, random.Random(seed).randbytes)


def test_ports_are_spread_over_the_whole_range() -> None:
    ports = chooser(DYNAMIC_PORTS)
    drawn = [ports.choose(lambda _: False, even=False, pair=False) for _ in range(4096)]
    sixteenths = Counter((port - 49152) // 1024 for port in drawn if port is not None)
    assert set(sixteenths) == set(range(16))
    # 256 are expected in each; ten standard deviations are 155.
    assert all(abs(count - 256) < 155 for count in sixteenths.values())


def test_the_draw_is_the_injected_randomness_alone() -> None:
    first, second = (chooser(DYNAMIC_PORTS, seed=3) for _ in range(2))
    for _ in range(20):
        one = first.choose(lambda _: False, even=False, pair=False)
        assert one == second.choose(lambda _: False, even=False, pair=False)


@pytest.mark.parametrize("free", [50000, 50001, 50500, 50998, 50999])
def test_the_last_free_port_is_found(free: int) -> None:
    ports = chooser(PortRange(50000, 50999))
    assert ports.choose(lambda port: port != free, even=False, pair=False) == free
    even = ports.choose(lambda port: port != free, even=True, pair=False)
    assert even == (free if free % 2 == 0 else None)


@pytest.mark.parametrize(
    ("ports", "pairs"),
    [
        (PortRange(50000, 50003), {50000, 50002}),
        (PortRange(50001, 50004), {50002}),
        (PortRange(50001, 50002), set()),
        (PortRange(50000, 50001), {50000}),
        (PortRange(50000, 50000), set()),
        (PortRange(65534, 65535), {65534}),
    ],
)
def test_a_pair_lies_within_the_range(ports: PortRange, pairs: set[int]) -> None:
    drawn = {chooser(ports, s).choose(lambda _: False, even=True, pair=True) for s in range(40)}
    assert drawn == pairs or (drawn == {None} and not pairs)


def test_both_ports_of_a_pair_are_free() -> None:
    taken = {50000, 50003, 50005}
    for seed in range(20):
        ports = chooser(PortRange(50000, 50009), seed)
        assert ports.choose(taken.__contains__, even=True, pair=True) in {50006, 50008}


@pytest.mark.parametrize(("even", "pair"), [(False, False), (True, False), (True, True)])
def test_a_full_range_has_none(*, even: bool, pair: bool) -> None:
    ports = chooser(PortRange(50000, 50099))
    assert ports.choose(lambda _: True, even=even, pair=pair) is None
