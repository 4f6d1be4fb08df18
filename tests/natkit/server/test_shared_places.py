"""Places by name in shared memory."""

import os
from collections.abc import Iterator

import pytest

from natkit.server.shared_places import SharedPlaces, places_for

WORKERS = 2


@pytest.fixture
def each() -> Iterator[list[SharedPlaces]]:
    """Those of every worker, and last of who only looks and clears."""
    made = SharedPlaces.create(names=4, workers=WORKERS)
    workers = [SharedPlaces(os.dup(made.descriptor), number) for number in range(WORKERS)]
    yield [*workers, made]
    for one in (*workers, made):
        one.close()


def test_a_name_has_the_same_place_in_all_processes_as_long_as_one_has_it(
    each: list[SharedPlaces],
) -> None:
    one, other, _ = each
    assert one.open("alice") == (0, True)
    assert other.open("alice") == (0, False)
    assert other.open("bob") == (1, True)
    one.shut("alice", 0)
    assert one.open("carol") == (2, True)
    other.shut("alice", 0)
    assert one.open("dave") == (0, True)


def test_what_a_dead_process_had_is_free_again(each: list[SharedPlaces]) -> None:
    one, other, supervisor = each
    one.open("alice")
    other.open("bob")
    supervisor.forget(0)
    assert other.open("carol") == (0, True)
    assert other.open("bob") == (1, False)


def test_there_are_no_more_places_than_was_said(each: list[SharedPlaces]) -> None:
    places = [each[0].open(f"user {number}") for number in range(places_for(4) + 1)]
    assert places[-1] is None
    assert sorted(place[0] for place in places if place is not None) == list(range(places_for(4)))
