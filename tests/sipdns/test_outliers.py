import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.machine import Transport
from sipdns.outliers import Condition, OutlierLimits, Outliers

SERVER = (Address("192.0.2.1", 5060), Transport.UDP)
LIMITS = OutlierLimits(grey=30, longest_grey=100, longest_black=50, probe=40, forget=600)
WELL, GREY, BLACK, PROBE = Condition


@pytest.fixture
def outliers() -> Outliers:
    return Outliers(LIMITS)


def test_a_failure_makes_a_server_grey_and_then_due_for_a_probe(outliers: Outliers) -> None:
    assert outliers.condition(SERVER, 0) is WELL
    outliers.failed(SERVER, 0)
    assert outliers.condition(SERVER, 29.9) is GREY
    assert outliers.condition(SERVER, 30) is PROBE


def test_a_failure_over_one_transport_says_nothing_of_another(outliers: Outliers) -> None:
    outliers.failed(SERVER, 0)
    assert outliers.condition((SERVER[0], Transport.TCP), 0) is WELL
    assert outliers.condition((Address("192.0.2.1", 5061), Transport.UDP), 0) is WELL


def test_retry_after_makes_a_server_black_for_as_long_as_it_says_up_to_a_bound(
    outliers: Outliers,
) -> None:
    outliers.failed(SERVER, 0, retry_after=20)
    assert outliers.condition(SERVER, 19.9) is BLACK
    assert outliers.condition(SERVER, 20) is PROBE
    outliers.failed(SERVER, 20, retry_after=10**9)
    assert outliers.condition(SERVER, 69.9) is BLACK
    assert outliers.condition(SERVER, 70) is PROBE


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_retry_after_of_nothing_avoids_nothing(outliers: Outliers, seconds: float) -> None:
    outliers.failed(SERVER, 0, retry_after=seconds)
    assert outliers.condition(SERVER, 0) is PROBE


def test_a_failure_does_not_cut_short_the_rest_that_a_server_asked_for(outliers: Outliers) -> None:
    outliers.failed(SERVER, 0, retry_after=50)
    outliers.failed(SERVER, 1)
    assert outliers.condition(SERVER, 49) is BLACK


def test_one_probe_keeps_the_others_away_for_as_long_as_it_may_take(outliers: Outliers) -> None:
    outliers.failed(SERVER, 0)
    outliers.probe(SERVER, 30)
    assert outliers.condition(SERVER, 69.9) is GREY
    assert outliers.condition(SERVER, 70) is PROBE
    outliers.probe(SERVER, 70)
    outliers.give_up_probe(SERVER)
    assert outliers.condition(SERVER, 70) is PROBE


def test_success_clears_and_each_failure_doubles_up_to_a_bound(outliers: Outliers) -> None:
    now = 0.0
    for seconds in (30, 60, 100, 100):
        outliers.failed(SERVER, now)
        assert outliers.condition(SERVER, now + seconds - 0.1) is GREY
        now += seconds
        assert outliers.condition(SERVER, now) is PROBE
    outliers.succeeded(SERVER)
    assert outliers.condition(SERVER, now) is WELL
    outliers.failed(SERVER, now)
    assert outliers.condition(SERVER, now + 30) is PROBE


def test_what_nobody_asks_of_is_forgotten(outliers: Outliers) -> None:
    outliers.failed(SERVER, 0)
    assert outliers.condition(SERVER, 630) is WELL
    assert len(outliers) == 0


def test_failures_in_ever_new_places_fill_a_bounded_table_and_the_oldest_makes_room() -> None:
    outliers = Outliers(most_servers=100)
    servers = [(Address("192.0.2.1", port), Transport.UDP) for port in range(1, 1001)]
    for server in servers:
        outliers.failed(server, 0)
    assert len(outliers) == 100
    assert outliers.condition(servers[-100], 0) is GREY
    assert outliers.condition(servers[-101], 0) is WELL


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "rest", "succeed", "probe", "ask"]), st.floats(0, 2000)),
        max_size=40,
    )
)
def test_whatever_happened_a_server_is_well_again_in_bounded_time(
    steps: list[tuple[str, float]],
) -> None:
    outliers = Outliers(LIMITS)
    now = 0.0
    for what, seconds in steps:
        now += seconds / 10
        match what:
            case "fail":
                outliers.failed(SERVER, now)
            case "rest":
                outliers.failed(SERVER, now, retry_after=seconds)
            case "succeed":
                outliers.succeeded(SERVER)
            case "probe":
                outliers.probe(SERVER, now)
            case _:
                outliers.condition(SERVER, now)
    ends = max(LIMITS.longest_grey, LIMITS.longest_black)
    assert outliers.condition(SERVER, now + ends) in (WELL, PROBE, GREY)
    assert outliers.condition(SERVER, now + ends + LIMITS.forget) is WELL
