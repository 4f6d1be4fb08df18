"""Retransmission times of one request, and the estimate they start from."""

from collections.abc import Callable

import pytest

from natkit.errors import MisuseError
from natkit.stun.transaction import (
    DEFAULT_TIMING,
    ESTIMATE_LIFETIME,
    ClientTransaction,
    RoundTripEstimate,
    Timing,
)

START = 1000.0


def run(transaction: ClientTransaction) -> tuple[list[float], float]:
    """Times of the transmissions, and of the end, from the start on."""
    sent: list[float] = []
    while True:
        now = transaction.next_deadline()
        if transaction.is_over(now):
            return sent, now - START
        assert transaction.take_due(now) == b"request"
        sent.append(now - START)


def test_a_datagram_is_sent_at_the_times_of_the_rfc() -> None:
    # RFC 8489 §6.2.1's own example.
    times, end = run(ClientTransaction(b"request", START, reliable=False))
    assert times == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert end == 39.5


def test_a_reliable_transport_is_sent_to_once() -> None:
    times, end = run(ClientTransaction(b"request", START, reliable=True))
    assert (times, end) == ([0], 39.5)


def test_rto_rc_and_rm_can_be_set() -> None:
    timing = Timing(rto=0.1, request_count=3, last_wait=4)
    times, end = run(ClientTransaction(b"request", START, reliable=False, timing=timing))
    assert times == pytest.approx([0, 0.1, 0.3])
    assert end == pytest.approx(0.7)


def test_an_estimate_stretches_the_whole_schedule() -> None:
    times, end = run(ClientTransaction(b"request", START, reliable=False, rto=1.0))
    assert times == [0, 1, 3, 7, 15, 31, 63]
    assert end == 79


def test_nothing_is_sent_before_its_time() -> None:
    transaction = ClientTransaction(b"request", START, reliable=False)
    assert transaction.take_due(START) == b"request"
    assert transaction.take_due(START) is None
    assert transaction.take_due(START + 0.499) is None
    assert transaction.sent == 1
    assert not transaction.is_over(START + 100)


def test_a_late_timer_sends_one_request_not_several() -> None:
    transaction = ClientTransaction(b"request", START, reliable=False)
    assert transaction.take_due(START) == b"request"
    late = START + 20
    assert transaction.take_due(late) == b"request"
    assert transaction.take_due(late) is None
    assert transaction.next_deadline() == late + 1


@pytest.mark.parametrize(
    "timing",
    [
        lambda: Timing(rto=0),
        lambda: Timing(rto=2.0),
        lambda: Timing(request_count=0),
        lambda: Timing(last_wait=0),
        lambda: Timing(reliable_timeout=0),
    ],
)
def test_senseless_timings_are_refused(timing: Callable[[], Timing]) -> None:
    with pytest.raises(MisuseError):
        timing()


class TestRoundTripEstimate:
    """RFC 6298 §2, with the exceptions of RFC 8489 §6.2.1."""

    def test_starts_at_the_recommended_value(self) -> None:
        assert RoundTripEstimate().rto(START) == 0.5

    def test_never_goes_below_it(self) -> None:
        estimate = RoundTripEstimate()
        estimate.add(0.02, START)
        assert estimate.rto(START) == 0.5

    def test_takes_the_first_measurement_with_half_of_it_as_variation(self) -> None:
        estimate = RoundTripEstimate()
        estimate.add(0.2, START)
        assert estimate.rto(START) == pytest.approx(0.2 + 4 * 0.1)

    def test_moves_by_an_eighth_and_a_quarter(self) -> None:
        estimate = RoundTripEstimate(Timing(rto=0.1))
        estimate.add(0.2, START)
        estimate.add(0.1, START + 1)
        assert estimate.rto(START + 1) == pytest.approx(0.1875 + 4 * 0.1)

    def test_stays_below_what_refreshes_count_on(self) -> None:
        estimate = RoundTripEstimate()
        estimate.add(30.0, START)
        assert estimate.rto(START) == DEFAULT_TIMING.maximum_rto

    def test_goes_stale_after_ten_minutes(self) -> None:
        estimate = RoundTripEstimate()
        estimate.add(0.2, START)
        assert estimate.rto(START + ESTIMATE_LIFETIME) > 0.5
        assert estimate.rto(START + ESTIMATE_LIFETIME + 1) == 0.5
        estimate.add(0.3, START + ESTIMATE_LIFETIME + 1)
        assert estimate.rto(START + ESTIMATE_LIFETIME + 1) == pytest.approx(0.3 + 4 * 0.15)
