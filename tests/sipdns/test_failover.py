import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Transport
from sipdns.affinity import Affinity
from sipdns.failover import Failover, Result
from sipdns.outliers import Condition, OutlierLimits, Outliers
from sipdns.targets import RankedTarget
from tests.sipdns.world import look_up


def target(number: int, transport: Transport = Transport.UDP) -> RankedTarget:
    address = Address(f"192.0.2.{number}", 5060)
    return RankedTarget(transport, address, f"h{number}.example", "example.org")


ONE, TWO, THREE = target(1), target(2), target(3)


def rest(failover: Failover[RankedTarget], now: float) -> list[RankedTarget]:
    """All targets still to come, each of which times out."""
    found = []
    while (one := failover.next_target(now)) is not None:
        found.append(one)
        failover.timed_out(now)
    return found


def test_each_target_is_given_once_and_in_order() -> None:
    failover = Failover([ONE, TWO, THREE])
    assert rest(failover, 0) == [ONE, TWO, THREE]
    assert failover.next_target(0) is None
    assert [one.result for one in failover.tried] == [Result.TIMEOUT] * 3


def test_timeouts_transport_errors_and_every_503_are_failures() -> None:
    failover = Failover([ONE, TWO, THREE])
    assert failover.next_target(0) == ONE
    assert failover.timed_out(0)
    assert failover.next_target(0) == TWO
    assert failover.unreachable(0)
    assert failover.next_target(0) == THREE
    assert failover.answered(503, 0)
    results = [one.result for one in failover.tried]
    assert results == [Result.TIMEOUT, Result.UNREACHABLE, Result.UNAVAILABLE]


@pytest.mark.parametrize("status", [100, 200, 302, 401, 404, 408, 486, 500, 502, 504, 600, 603])
def test_no_other_response_is_a_failure(status: int) -> None:
    outliers = Outliers()
    failover = Failover([ONE, TWO], outliers=outliers)
    failover.next_target(0)
    assert not failover.answered(status, 0)
    assert outliers.condition((ONE.address, ONE.transport), 0) is Condition.WELL


def test_silence_after_a_provisional_response_is_no_failure() -> None:
    outliers = Outliers()
    failover = Failover([ONE, TWO], outliers=outliers)
    failover.next_target(0)
    assert not failover.timed_out(0, after_provisional=True)
    assert len(outliers) == 0


def test_a_server_that_failed_one_call_comes_last_for_the_next() -> None:
    outliers = Outliers()
    first = Failover([ONE, TWO], outliers=outliers)
    first.next_target(0)
    first.timed_out(0)
    assert rest(Failover([ONE, TWO, THREE], outliers=outliers), 1) == [TWO, THREE, ONE]


def test_a_503_is_a_failure_without_retry_after_which_says_only_for_how_long() -> None:
    outliers = Outliers(OutlierLimits(grey=30))
    first = Failover([ONE, TWO], outliers=outliers)
    first.next_target(0)
    assert first.answered(503, 0)
    first.next_target(0)
    assert first.answered(503, 0, retry_after=100)
    second = Failover([ONE, TWO], outliers=outliers)
    assert second.rests_until(1) == 100
    assert rest(second, 1) == [ONE]
    assert second.rests_until(1) == 100


def test_when_all_have_asked_for_rest_none_is_tried_until_then() -> None:
    outliers = Outliers()
    outliers.failed((ONE.address, ONE.transport), 0, retry_after=60)
    failover = Failover([ONE], outliers=outliers)
    assert failover.next_target(1) is None
    assert failover.rests_until(1) == 60
    assert failover.next_target(60) == ONE


def test_one_call_probes_a_server_and_the_others_keep_away_until_it_is_known() -> None:
    outliers = Outliers(OutlierLimits(grey=30))
    outliers.failed((ONE.address, ONE.transport), 0)
    prober = Failover([ONE, TWO], outliers=outliers)
    other = Failover([ONE, TWO], outliers=outliers)
    assert prober.next_target(31) == ONE
    assert prober.tried[0].as_probe
    assert other.next_target(31) == TWO
    prober.answered(200, 32)
    assert Failover([ONE, TWO], outliers=outliers).next_target(32) == ONE


def test_a_call_that_is_given_up_lets_another_probe() -> None:
    outliers = Outliers(OutlierLimits(grey=30))
    outliers.failed((ONE.address, ONE.transport), 0)
    given_up = Failover([ONE, TWO], outliers=outliers)
    given_up.next_target(31)
    given_up.abandon()
    given_up.abandon()
    assert given_up.tried[0].result is Result.ABANDONED
    assert Failover([ONE, TWO], outliers=outliers).next_target(31) == ONE


def test_the_server_of_the_registration_goes_first_unless_it_failed_or_is_gone() -> None:
    affinity = Affinity()
    affinity.remember("sip:alice@example.org", THREE, 3600)
    preferred = affinity.recall("sip:alice@example.org", 10)
    assert rest(Failover([ONE, TWO, THREE], preferred=preferred), 10) == [THREE, ONE, TWO]
    assert rest(Failover([ONE, TWO], preferred=preferred), 10) == [ONE, TWO]
    outliers = Outliers()
    outliers.failed((THREE.address, THREE.transport), 10)
    failover = Failover([ONE, TWO, THREE], outliers=outliers, preferred=preferred)
    assert rest(failover, 11) == [ONE, TWO, THREE]


def test_an_affinity_ends_with_the_registration() -> None:
    affinity = Affinity()
    affinity.remember("a", ONE, 10)
    affinity.remember("b", TWO, 10)
    affinity.forget("b")
    affinity.forget("b")
    assert affinity.recall("a", 9.9) == ONE
    assert affinity.recall("a", 10) is None
    assert affinity.recall("b", 0) is None
    assert len(affinity) == 0


def test_affinities_are_bounded_and_the_one_not_renewed_makes_room() -> None:
    affinity = Affinity(most_owners=10)
    for owner in range(10):
        affinity.remember(str(owner), ONE, 100)
    affinity.remember("0", TWO, 100)
    for owner in range(10, 19):
        affinity.remember(str(owner), ONE, 100)
    assert len(affinity) == 10
    assert affinity.recall("0", 1) == TWO
    assert affinity.recall("9", 1) is None


def test_targets_must_be_taken_and_told_of_in_turn() -> None:
    failover = Failover([ONE, TWO])
    for tell in (failover.timed_out, failover.unreachable):
        with pytest.raises(MisuseError):
            tell(0)
    failover.next_target(0)
    with pytest.raises(MisuseError):
        failover.next_target(0)
    failover.answered(200, 0)
    with pytest.raises(MisuseError):
        failover.answered(503, 0)


def test_failures_change_nothing_of_what_the_dns_said() -> None:
    outcome = look_up(
        "sip:example.org",
        """
        _sip._udp.example.org SRV 1 0 5060 a.example.org
        _sip._udp.example.org SRV 2 0 5060 b.example.org
        a.example.org A 192.0.2.1
        b.example.org A 192.0.2.2
        """,
    )
    before = copy.deepcopy(outcome)
    outliers = Outliers()
    rest(Failover(outcome.targets, outliers=outliers), 0)
    assert (outcome.targets, outcome.asked) == (before.targets, before.asked)
    # Another domain that shares the host's name but not its address is not touched.
    assert outliers.condition((Address("192.0.2.3", 5060), Transport.UDP), 0) is Condition.WELL


@given(
    st.lists(st.integers(1, 20), unique=True, max_size=8),
    st.lists(st.integers(1, 20), max_size=8),
    st.lists(st.sampled_from(["timeout", "503", "rest", "unreachable"]), max_size=8),
)
def test_every_target_is_tried_exactly_once_or_rests(
    numbers: list[int], grey: list[int], results: list[str]
) -> None:
    outliers = Outliers()
    for number in grey:
        outliers.failed((target(number).address, Transport.UDP), 0, retry_after=5 * (number % 2))
    failover = Failover([target(number) for number in numbers], outliers=outliers)
    resting = {number for number in numbers if number in grey and number % 2}
    seen = []
    for result in [*results, *["timeout"] * 20]:
        one = failover.next_target(1)
        if one is None:
            break
        seen.append(one)
        match result:
            case "timeout":
                assert failover.timed_out(1)
            case "unreachable":
                assert failover.unreachable(1)
            case _:
                assert failover.answered(503, 1, retry_after=9 if result == "rest" else None)
    assert len(set(seen)) == len(seen)
    assert {one.address.host for one in seen} == {
        f"192.0.2.{number}" for number in numbers if number not in resting
    }
