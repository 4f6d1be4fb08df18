"""Bindings that proxies share: what is gathered, what is refused, and what a dead store does."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from natkit.errors import StoreFailure
from natkit.machine import Failure
from natkit.server.stores import store
from sip_proxy.events import Overloaded
from sip_proxy.location import Accepted, Outcome
from sip_proxy.location.group import Change, Held, apply_all
from sip_proxy.shell.stores import SharedLocation
from sip_proxy.shell.stores import shared as shared_module
from tests.sip_proxy.shell.location_contract import (
    ALICE,
    BOB,
    HERE,
    NOW,
    LocationContract,
    contacts,
    found,
    outcomes_in_groups,
    registration,
    updated,
)

GONE = StoreFailure("fake: it is gone")


class FakeBindings:
    """A database in memory that can be held up and taken down."""

    name = "fake"
    advice: Sequence[str] = ()

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.groups: list[int] = []
        self.failure: Exception | None = None
        self.is_read_only = False
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None:
        await self._answer()

    async def fetch(self, addresses_of_record: Sequence[str]) -> Mapping[str, Held]:
        await self._answer()
        self.groups.append(len(addresses_of_record))
        return {name: self.held[name] for name in addresses_of_record if name in self.held}

    async def apply(
        self, changes: Sequence[Change], largest_count: int
    ) -> Sequence[Outcome | Failure]:
        await self._answer()
        if self.is_read_only:
            raise ValueError("read-only")
        self.groups.append(len(changes))
        outcomes = apply_all(changes, self.held, largest_count - len(self.held))
        self.held = {name: bindings for name, bindings in self.held.items() if bindings}
        return outcomes

    async def forget_expired(self, unix_now: float) -> int:
        await self._answer()
        self.held = {
            name: bindings
            for name, bindings in self.held.items()
            if isinstance(bindings, Failure)
            or any(binding.expires_at > unix_now for binding in bindings)
        }
        return len(self.held)

    async def listed(self, limit: int) -> Sequence[str]:
        await self._answer()
        return list(self.held)[:limit]

    async def aclose(self) -> None:
        self.gate.set()

    async def _answer(self) -> None:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure


class Rig:
    """A shared location, its database, its clock, and what it told."""

    def __init__(self, largest_waiting: int = 100) -> None:
        self.now = 1000.0
        self.bindings = FakeBindings()
        self.told: list[StoreFailure | None] = []
        self.location = SharedLocation(
            self.bindings,
            lambda: self.now,
            self.told.append,
            largest_count=1000,
            largest_waiting=largest_waiting,
        )

    def begin(self, name: str, number: int = 1) -> list[Outcome | Failure]:
        """Register, and give the list that the outcome comes into."""
        outcomes: list[Outcome | Failure] = []
        self.location.update(name, registration(number), NOW, outcomes.append)
        return outcomes


class TestSharedLocation(LocationContract):
    @pytest.fixture
    def location(self) -> SharedLocation:
        return Rig(largest_waiting=1000).location


async def test_what_comes_while_a_group_is_under_way_makes_the_next() -> None:
    rig = Rig()
    rig.bindings.gate.clear()
    first = rig.begin("sip:0@example.org")
    await asyncio.sleep(0)
    others = [rig.begin(f"sip:{number}@example.org") for number in range(1, 50)]
    rig.bindings.gate.set()
    await rig.location.aclose()
    assert rig.bindings.groups == [1, 49]
    assert all(isinstance(outcome, Accepted) for (outcome,) in [first, *others])


async def test_the_outcomes_of_a_group_are_given_together() -> None:
    assert await outcomes_in_groups(Rig(largest_waiting=50).location, 50) == [50]


async def test_a_group_is_no_larger_than_the_database_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_module, "LARGEST_GROUP", 20)
    rig = Rig()
    for number in range(50):
        rig.begin(f"sip:{number}@example.org")
    await rig.location.aclose()
    assert rig.bindings.groups == [20, 20, 10]


async def test_registrations_and_lookups_that_wait_are_bounded_and_one_more_is_too_much() -> None:
    rig = Rig(largest_waiting=10)
    rig.bindings.gate.clear()
    waiting = [rig.begin(f"sip:{number}@example.org") for number in range(10)]
    (refused,) = rig.begin("sip:10@example.org")
    assert isinstance(refused, Overloaded)
    lookups: list[object] = []
    for _ in range(11):
        rig.location.find(ALICE, NOW, lookups.append)
    assert [type(each) for each in lookups] == [Overloaded]
    rig.bindings.gate.set()
    await rig.location.aclose()
    assert all(isinstance(outcome, Accepted) for (outcome,) in waiting)
    assert len(lookups) == 11


async def test_while_the_database_is_down_all_fail_and_it_is_asked_once_a_second() -> None:
    rig = Rig()
    assert isinstance(await updated(rig.location, ALICE, registration()), Accepted)
    rig.bindings.failure = ConnectionResetError("by  peer")
    failure = await updated(rig.location, ALICE, registration(2))
    assert failure == Failure("fake: by peer")
    assert await found(rig.location, ALICE) == failure
    assert rig.location.failure == "fake: by peer"
    rig.bindings.failure = None
    # At once, without asking.
    asked = rig.bindings.asked
    assert rig.begin(ALICE, 3) == [failure]
    assert await found(rig.location, ALICE) == failure
    assert rig.bindings.asked == asked
    rig.now += 1.0
    assert isinstance(await updated(rig.location, ALICE, registration(3)), Accepted)
    assert await contacts(rig.location, ALICE) == [HERE]
    assert [str(each) for each in rig.told] == ["fake: by peer", "None"]
    await rig.location.aclose()


async def test_a_database_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "ANSWER_LIMIT", 0.01)
    rig = Rig()
    rig.bindings.gate.clear()
    failure = await updated(rig.location, ALICE, registration())
    assert failure == Failure("fake: no answer in 0.01 s")
    assert store.ANSWER_LIMIT < 10, "the desk gives a question up after ten seconds"
    await rig.location.aclose()


async def test_those_who_wait_while_it_hangs_fail_with_the_first_and_do_not_ask_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_module, "ANSWER_LIMIT", 0.01)
    monkeypatch.setattr(shared_module, "LARGEST_GROUP", 1)
    rig = Rig()
    rig.bindings.gate.clear()
    outcomes = [rig.begin(f"sip:{number}@example.org") for number in range(50)]
    await rig.location.aclose()
    assert {outcome for (outcome,) in outcomes} == {Failure("fake: no answer in 0.01 s")}
    assert rig.bindings.asked == 1


async def test_a_database_that_takes_no_changes_is_still_read() -> None:
    rig = Rig()
    await updated(rig.location, ALICE, registration())
    rig.bindings.is_read_only = True
    assert isinstance(await updated(rig.location, ALICE, registration(2)), Failure)
    assert await contacts(rig.location, ALICE) == [HERE]
    assert rig.location.failure == "fake: read-only"
    assert len(rig.told) == 1
    rig.bindings.is_read_only = False
    rig.now += 1.0
    assert isinstance(await updated(rig.location, ALICE, registration(3)), Accepted)
    assert [str(each) for each in rig.told] == ["fake: read-only", "None"]
    await rig.location.aclose()


async def test_a_database_that_is_down_is_no_reason_not_to_start() -> None:
    rig = Rig()
    rig.bindings.failure = GONE
    await rig.location.open()
    assert rig.told == [GONE]
    rig.location.forget_expired(NOW)
    await asyncio.sleep(0)
    with pytest.raises(StoreFailure):
        await rig.location.listed(1)
    await rig.location.aclose()


async def test_what_another_software_wrote_fails_those_whom_it_is_of_and_nobody_else() -> None:
    rig = Rig()
    rig.bindings.held[ALICE] = Failure("these are no bindings")
    outcomes = [rig.begin(ALICE), rig.begin(BOB)]
    await rig.location.aclose()
    assert outcomes[0] == [Failure("these are no bindings")]
    assert isinstance(outcomes[1][0], Accepted)
    assert await found(rig.location, ALICE) == Failure("these are no bindings")


@pytest.mark.parametrize("name", ["sip:a\x00@example.org", "sip:\udcff@example.org", "sip:ü@x.org"])
async def test_a_name_that_no_database_takes_fails_alone(name: str) -> None:
    rig = Rig()
    outcomes = [rig.begin(name), rig.begin(ALICE)]
    await rig.location.aclose()
    assert isinstance(outcomes[0][0], Failure)
    assert isinstance(outcomes[1][0], Accepted)
