"""How often: at random below a bound, and a bound learnt from the NAT."""

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MisuseError
from natkit.keepalive import AdaptiveInterval, default_bound, negotiated_bound, spread
from natkit.keepalive.outbound import dead_after
from natkit.machine import Transport


def test_an_interval_lies_between_80_and_100_percent_of_its_bound() -> None:
    source = random.Random(1)
    drawn = [spread(30.0, source.randbytes) for _ in range(2000)]
    assert min(drawn) >= 24.0
    assert max(drawn) <= 30.0
    # Spread over the whole, not bunched at one end.
    assert min(drawn) < 24.1
    assert max(drawn) > 29.9
    assert 26.8 < sum(drawn) / len(drawn) < 27.2


@pytest.mark.parametrize(("bits", "share"), [(b"\0\0\0\0", 0.8), (b"\xff\xff\xff\xff", 1.0)])
def test_the_ends_of_the_range_are_reached(bits: bytes, share: float) -> None:
    assert spread(100.0, lambda _: bits) == pytest.approx(100.0 * share)


def test_the_intervals_of_consent_are_the_same_rule() -> None:
    # RFC 7675 §5.1: 5 s, times 0.8 to 1.2.
    assert spread(6.0, lambda _: bytes(4), 2 / 3) == pytest.approx(4.0)
    assert spread(6.0, lambda _: b"\xff" * 4, 2 / 3) == pytest.approx(6.0)


@given(st.floats(10.5, 1500.0), st.integers(0, 1 << 30))
def test_what_is_learnt_settles_between_half_and_95_percent_of_the_lifetime(
    lifetime: float, seed: int
) -> None:
    learning = AdaptiveInterval(shortest=10.0, longest=900.0)
    late = random.Random(seed)
    for trials in count(1):
        silence = learning.trial() * late.uniform(1.0, 1.02)  # a shell is never early
        (learning.survived if silence < lifetime else learning.lost)(silence)
        if learning.is_settled:
            break
        assert trials < 16
    assert learning.bound <= 0.95 * lifetime
    assert learning.bound >= 0.5 * lifetime
    survived, fatal = learning.lifetime
    assert survived < lifetime
    assert fatal is None or fatal >= lifetime


def test_a_binding_that_outlives_everything_is_kept_by_the_longest_interval_known() -> None:
    learning = AdaptiveInterval(shortest=10.0, longest=80.0)
    while not learning.is_settled:
        learning.survived(learning.trial())
    assert learning.lifetime == (80.0, None)
    assert learning.bound == pytest.approx(68.0)


def test_nothing_is_known_at_first_and_the_shortest_interval_is_used() -> None:
    learning = AdaptiveInterval(shortest=15.0)
    assert (learning.bound, learning.is_settled, learning.trial()) == (15.0, False, 30.0)


def test_a_lifetime_below_the_shortest_interval_ends_the_search() -> None:
    learning = AdaptiveInterval(shortest=10.0)
    learning.lost(20.0)
    learning.lost(10.0)
    assert learning.is_settled
    assert learning.bound == 10.0


def test_later_evidence_beats_earlier_when_the_nat_has_changed() -> None:
    learning = AdaptiveInterval()
    learning.survived(100.0)
    learning.lost(60.0)
    assert learning.bound < 60.0
    learning.survived(60.0)
    assert learning.lifetime == (60.0, None)


@pytest.mark.parametrize(("shortest", "longest"), [(0.0, 10.0), (10.0, 10.0), (1.0, 1e6)])
def test_bounds_that_leave_no_room_are_refused(shortest: float, longest: float) -> None:
    with pytest.raises(MisuseError):
        AdaptiveInterval(shortest, longest)


@pytest.mark.parametrize(
    ("transport", "flow_timer", "keep", "bound"),
    [
        (Transport.UDP, None, None, 29.0),
        (Transport.TCP, None, None, 120.0),
        (Transport.WSS, None, None, 120.0),
        (Transport.UDP, 25, None, 25.0),
        (Transport.TLS, 300, None, 300.0),
        (Transport.TLS, None, 45, 45.0),
        (Transport.TLS, 60, 45, 45.0),
        (Transport.TCP, 0, 0, 120.0),
    ],
)
def test_a_bound_is_what_the_ends_agreed_on(
    transport: Transport, flow_timer: int | None, keep: int | None, bound: float
) -> None:
    assert negotiated_bound(transport, flow_timer=flow_timer, keep=keep) == bound


def test_the_default_intervals_are_those_of_the_rfc() -> None:
    # RFC 5626 §4.4.1: between 95 and 120 s; §4.4.2: between 24 and 29 s.
    for transport, least, most in ((Transport.TCP, 95.0, 120.0), (Transport.UDP, 23.0, 29.0)):
        bound = default_bound(transport)
        assert least <= bound * 0.8 <= bound <= most


def test_an_edge_waits_ten_seconds_more() -> None:
    assert dead_after(120.0) == 130.0
