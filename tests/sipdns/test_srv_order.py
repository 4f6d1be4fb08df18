import random
from collections import Counter, defaultdict
from collections.abc import Hashable
from itertools import permutations
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipdns.records import SrvRecord
from sipdns.srv_order import first_probabilities, order, shuffled

DRAWS = 10_000
SEED = 2782

# The 0.1 % points of the chi-square distribution, by degrees of freedom.
CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 9: 27.88, 23: 49.73}


def records(*weights: int, priority: int = 0) -> list[SrvRecord]:
    return [
        SrvRecord(priority, weight, 5060, f"h{index}.example", 60)
        for index, weight in enumerate(weights)
    ]


Outcome = TypeVar("Outcome", bound=Hashable)


def chi_square(observed: Counter[Outcome], expected: dict[Outcome, float]) -> float:
    assert set(observed) <= {key for key, probability in expected.items() if probability}
    return sum(
        (observed[key] - DRAWS * probability) ** 2 / (DRAWS * probability)
        for key, probability in expected.items()
        if probability
    )


def procedure_of_rfc_2782(weights: dict[str, int]) -> dict[tuple[str, ...], float]:
    """The probability of each order, by going through all draws of the RFC's procedure.

    The arrangement in front of each draw is any with the zero weights first; all are as likely.
    """
    if not weights:
        return {(): 1.0}
    zeros = [name for name, weight in weights.items() if weight == 0]
    others = [name for name, weight in weights.items() if weight]
    total = sum(weights.values())
    first: Counter[str] = Counter()
    arrangements = [(*head, *tail) for head in permutations(zeros) for tail in permutations(others)]
    for arrangement in arrangements:
        for drawn in range(total + 1):
            running_sum = 0
            for name in arrangement:
                running_sum += weights[name]
                if running_sum >= drawn:
                    first[name] += 1
                    break
    result = {}
    for name, times in first.items():
        probability = times / (len(arrangements) * (total + 1))
        rest = {other: weight for other, weight in weights.items() if other != name}
        for tail, conditional in procedure_of_rfc_2782(rest).items():
            result[name, *tail] = probability * conditional
    return result


@pytest.mark.parametrize(
    "weights", [(1, 1), (10, 60, 30), (0, 10), (0, 0, 5), (0, 0, 0), (3, 1, 0)]
)
def test_first_choices_follow_the_rfcs_procedure(weights: tuple[int, ...]) -> None:
    draw = random.Random(SEED).randrange
    group = records(*weights)
    by_rfc: defaultdict[str, float] = defaultdict(float)
    for names, probability in procedure_of_rfc_2782(
        {one.target: one.weight for one in group}
    ).items():
        by_rfc[names[0]] += probability
    observed = Counter(order(group, draw)[0].target for _ in range(DRAWS))
    expected = dict(zip((one.target for one in group), first_probabilities(group), strict=True))
    assert expected == pytest.approx(dict(by_rfc))
    print(f"seed {SEED}: {dict(observed)}")
    assert chi_square(observed, expected) < CRITICAL[len(group) - 1]


@pytest.mark.parametrize("weights", [(2, 3, 5), (0, 1, 4), (0, 0, 2)])
def test_whole_orders_follow_the_rfcs_procedure(weights: tuple[int, ...]) -> None:
    draw = random.Random(SEED).randrange
    group = records(*weights)
    expected = procedure_of_rfc_2782({one.target: one.weight for one in group})
    observed = Counter(tuple(one.target for one in order(group, draw)) for _ in range(DRAWS))
    assert chi_square(observed, expected) < CRITICAL[len(expected) - 1]


def test_a_zero_weight_is_picked_first_only_by_the_draw_of_zero() -> None:
    group = records(0, 10)
    assert first_probabilities(group) == pytest.approx([1 / 11, 10 / 11])


def test_priorities_are_never_mixed() -> None:
    draw = random.Random(SEED).randrange
    group = records(65535, 65535, priority=2) + records(0, 0, priority=1)
    for _ in range(100):
        assert [one.priority for one in order(group, draw)] == [1, 1, 2, 2]


def test_a_shuffle_gives_each_order_alike() -> None:
    draw = random.Random(SEED).randrange
    observed = Counter(tuple(shuffled("abcd", draw)) for _ in range(DRAWS))
    expected = dict.fromkeys(permutations("abcd"), 1 / 24)
    assert chi_square(observed, expected) < CRITICAL[23]


weights = st.integers(0, 65535)


@given(st.lists(st.tuples(st.integers(0, 3), weights), max_size=12), st.randoms())
def test_an_order_holds_each_record_once(
    rows: list[tuple[int, int]], source: random.Random
) -> None:
    group = [SrvRecord(p, w, 5060, f"h{index}", 60) for index, (p, w) in enumerate(rows)]
    ordered = order(group, source.randrange)
    assert sorted(ordered, key=str) == sorted(group, key=str)
    assert [one.priority for one in ordered] == sorted(one.priority for one in group)


@given(st.lists(weights, min_size=1, max_size=12))
def test_the_probabilities_of_one_priority_sum_to_one(each: list[int]) -> None:
    group = records(*each)
    assert sum(first_probabilities(group)) == pytest.approx(1)
