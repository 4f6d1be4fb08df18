"""Agents behind every kind of NAT, over bad lines, with conflicts, restarts and late candidates."""

from collections import Counter
from itertools import product

import pytest

from tests.conftest import Sized
from tests.natkit.ice.scenarios import Kind, Meeting, Outcome, Scenario, scenario
from tests.natkit.ice.theory import meet_directly
from tests.simnet import Conditions, Dependence

NATS = tuple(product(Dependence, Dependence))


@pytest.mark.parametrize("left", NATS, ids=str)
def test_agents_meet_directly_where_theory_lets_them(left: tuple[Dependence, Dependence]) -> None:
    for number, right in enumerate(NATS):
        planned = Scenario(number, Kind.PLAIN, left, right, (False, False), 0.0, Conditions())
        expected = Outcome.AGREED if meet_directly(left, right) else Outcome.NO_PATH
        assert Meeting(planned).run() is expected, f"{left} and {right}"


@pytest.mark.parametrize("left", NATS, ids=str)
@pytest.mark.parametrize("relays", [(True, False), (True, True)], ids=["one relay", "two relays"])
def test_a_relay_of_either_side_is_always_enough(
    left: tuple[Dependence, Dependence], relays: tuple[bool, bool]
) -> None:
    for number, right in enumerate(NATS):
        planned = Scenario(number, Kind.PLAIN, left, right, relays, 0.0, Conditions())
        assert Meeting(planned).run() is Outcome.AGREED, f"{left} and {right}"


def test_up_to_a_tenth_lost_they_agree_on_one_pair_wherever_there_is_a_path(sized: Sized) -> None:
    for seed in range(sized(quick=150, full=4_000)):
        planned = scenario(seed)
        outcome = Meeting(planned).run()
        assert outcome in (Outcome.AGREED, Outcome.NO_PATH), f"{outcome}: {planned}"


def test_with_three_in_ten_lost_nearly_all_agree_and_none_on_two_pairs(sized: Sized) -> None:
    outcomes: Counter[Outcome] = Counter()
    missed = []
    for seed in range(sized(quick=150, full=3_000)):
        planned = scenario(1_000_000 + seed, least_loss=0.3, most_loss=0.3)
        outcome = Meeting(planned).run()
        outcomes[outcome] += 1
        if outcome not in (Outcome.AGREED, Outcome.NO_PATH):
            missed.append(planned)
    possible = outcomes[Outcome.AGREED] + outcomes[Outcome.MISSED]
    assert outcomes[Outcome.TWO_PAIRS] == 0, missed
    assert outcomes[Outcome.AGREED] >= 0.97 * possible, missed
