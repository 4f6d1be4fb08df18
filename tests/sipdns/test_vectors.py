"""The vectors of tests/vectors/rfc3263, each against the machine."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import dns.name
import dns.rdata
import pytest

from natkit.address import Family
from natkit.errors import DnsFailure, MisuseError, NoService
from natkit.machine import Failure, Transport
from sipdns import plan, srv_order
from sipdns.records import Answer, Question
from sipdns.resolution import Limits, Resolution, Resolved
from sipdns.search import read_uri
from sipdns.targets import Outcome
from tests.sipdns.world import World
from tests.vectors.rfc3263 import FOLDER, Server, Vector, domains, vectors

ROUND_TRIP = 0.05

T = TypeVar("T")

each_vector = pytest.mark.parametrize("vector", vectors(), ids=str)
each_lookup = pytest.mark.parametrize(
    "vector", [one for one in vectors() if one.error != "bad uri"], ids=str
)


class VectorWorld(World):
    """The zone of a vector, with its failures; ``only`` leaves other questions unanswered."""

    def __init__(self, vector: Vector, only: Sequence[str] | None = None) -> None:
        def is_silent(question: Question) -> bool:
            text = str(question)
            return text in vector.unanswered or (only is not None and text not in only)

        super().__init__("\n".join(vector.zone), silent=is_silent)
        self.failing = vector.failing

    def answer(self, question: Question) -> Answer | Failure:
        if str(question) in self.failing:
            return Failure("SERVFAIL")
        return super().answer(question)


@pytest.fixture(autouse=True)
def nothing_is_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors say in which order the RFCs' "any order" is."""

    def as_they_are(items: Sequence[T], _draw: Callable[[int], int]) -> list[T]:
        return list(items)

    monkeypatch.setattr(srv_order, "shuffled", as_they_are)
    monkeypatch.setattr(plan, "shuffled", as_they_are)


def drawing(numbers: Iterator[tuple[int, int]]) -> Callable[[int], int]:
    """Draws the numbers of a vector, and sees that each is drawn from as many as it says."""

    def draw(outcomes: int) -> int:
        if outcomes == 1:
            return 0
        chosen, total = next(numbers)
        assert outcomes == total + 1
        return chosen

    return draw


def look_up(vector: Vector, world: World) -> tuple[Outcome, float]:
    """Run the lookup of a vector; the outcome, and the virtual seconds that it took."""
    now = 0.0
    numbers = iter(vector.random)
    resolution = Resolution(
        read_uri(vector.uri, [Transport(one) for one in vector.transports]),
        draw=drawing(numbers),
        now=now,
        usable=[family for family in Family if family.name.lower() in vector.families],
    )
    for _ in range(100):
        asked = []
        while (event := resolution.next_event()) is not None:
            if isinstance(event, Resolved):
                assert list(numbers) == []
                return event.outcome, now
            asked.append(event)
        answerable = [one for one in asked if not world.silent(one.question)]
        if answerable:
            now += ROUND_TRIP
            for one in answerable:
                resolution.answer(one.request_id, world.answer(one.question), now)
        else:
            deadline = resolution.next_deadline()
            assert deadline is not None
            now = max(now, deadline)
            resolution.handle_timer(now)
    raise AssertionError("the lookup does not end")


def servers(outcome: Outcome) -> tuple[Server, ...]:
    return tuple(
        Server(one.transport, one.address.host, one.address.port, one.host)
        for one in outcome.targets
    )


def rounds(outcome: Outcome) -> list[set[str]]:
    ordered = sorted(outcome.asked, key=lambda one: one.round)
    return [
        {str(one.question) for one in group}
        for _, group in itertools.groupby(ordered, key=lambda one: one.round)
    ]


@each_lookup
def test_the_targets_are_those_of_the_vector(vector: Vector) -> None:
    outcome, _ = look_up(vector, VectorWorld(vector))
    assert servers(outcome) == vector.targets
    assert {one.tls_name for one in outcome.targets} == {vector.tls_name} - {None}
    errors = {None: type(None), "no service": NoService, "dns failure": DnsFailure}
    assert type(outcome.error) is errors[vector.error]


@each_lookup
def test_the_questions_of_each_round_are_those_of_the_vector(vector: Vector) -> None:
    outcome, seconds = look_up(vector, VectorWorld(vector))
    assert rounds(outcome) == [set(one) for one in vector.rounds]
    if not vector.unanswered:
        assert seconds == pytest.approx(len(vector.rounds) * ROUND_TRIP)
    assert seconds <= Limits().whole


@each_lookup
def test_what_is_not_needed_is_not_waited_for(vector: Vector) -> None:
    whole, seconds = look_up(vector, VectorWorld(vector))
    outcome, hanging = look_up(vector, VectorWorld(vector, only=vector.needed))
    assert servers(outcome) == servers(whole)
    assert type(outcome.error) is type(whole.error)
    assert hanging == seconds


@pytest.mark.parametrize("vector", [one for one in vectors() if one.error == "bad uri"], ids=str)
def test_what_is_no_uri_of_sip_is_refused(vector: Vector) -> None:
    with pytest.raises(MisuseError):
        read_uri(vector.uri, [Transport(one) for one in vector.transports])


def test_there_are_enough_vectors_and_each_has_its_own_name() -> None:
    names = [vector.id for vector in vectors()]
    assert len(names) >= 80
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


@each_vector
def test_a_vector_is_well_formed(vector: Vector) -> None:
    assert vector.rfc
    for reference in vector.rfc:
        assert re.fullmatch(r"RFC \d{4}( §\d+(\.\d+)*)?", reference)
    assert vector.requires.endswith((".", ".)"))
    assert bool(vector.targets) == (vector.error is None)
    asked = [question for one in vector.rounds for question in one]
    assert len(set(asked)) == len(asked)
    assert set(vector.needed) <= set(asked)
    assert set(vector.unanswered) | set(vector.failing) <= set(asked)
    assert all(chosen <= total for chosen, total in vector.random)


@each_vector
def test_the_names_of_a_vector_are_its_own_so_that_one_server_serves_all(vector: Vector) -> None:
    own = [dns.name.from_text(one) for one in domains(vector)]
    for line in vector.zone:
        name, kind, data = line.split(None, 2)
        assert name.endswith(".")
        assert any(dns.name.from_text(name).is_subdomain(one) for one in own)
        dns.rdata.from_text("IN", kind, data, origin=None)


def test_the_readme_describes_every_field_and_file() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for field in Vector.__slots__:
        assert f"`{field}`" in text
    for file in FOLDER.glob("*.json"):
        assert f"`{file.name}`" in text
