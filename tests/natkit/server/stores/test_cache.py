"""The cache between a server and its store: what it answers at once, and what when it is down."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from natkit.errors import StoreFailure
from natkit.server.stores import cache as cache_module
from natkit.server.stores.cache import Answer, CacheTimes, UserCache
from natkit.server.stores.condition import Condition
from natkit.server.stores.static import StaticStore
from natkit.server.stores.store import UserKeys
from natkit.stun.credentials import user_hash
from tests.natkit.server.stores.contract import ANN, BOB, REALM

DOWN = StoreFailure("the store is down")
TIMES = CacheTimes(fresh=10.0, lifetime=100.0, unknown=5.0)


class FakeStore(StaticStore):
    """A store that can be held up and taken down."""

    def __init__(self) -> None:
        super().__init__(REALM, [ANN, BOB])
        self.asked: list[bytes] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        self.asked.append(userhash)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.get(realm, userhash)


class Rig:
    """A cache, its store, its clock, and what it told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = FakeStore()
        self.told: list[StoreFailure | None] = []
        self.condition = Condition(self.told.append)
        self.cache = UserCache(
            self.store, REALM, times=TIMES, condition=self.condition, clock=lambda: self.now
        )

    def begin(self, name: str) -> list[Answer]:
        """Ask, and give the list that the answer comes into."""
        answers: list[Answer] = []
        self.cache.find(user_hash(name, REALM), answers.append)
        return answers

    async def settle(self) -> None:
        """Until every question of the cache has been answered."""
        while self.cache._tasks:
            await asyncio.gather(*self.cache._tasks)

    async def ask(self, name: str) -> Answer:
        answers = self.begin(name)
        await self.settle()
        (answer,) = answers
        return answer


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.cache.aclose()


async def test_a_user_is_looked_up_once_while_the_answer_is_fresh(rig: Rig) -> None:
    assert await rig.ask("ann") == ANN
    rig.now += 9.9
    assert rig.begin("ann") == [ANN]
    assert len(rig.store.asked) == 1
    rig.now += 0.1
    assert rig.begin("ann") == []
    await rig.settle()
    assert len(rig.store.asked) == 2


async def test_a_change_is_seen_once_the_answer_is_no_longer_fresh(rig: Rig) -> None:
    assert await rig.ask("ann") == ANN
    assert await rig.ask("new") is None
    await rig.store.remove(REALM, "ann")
    new = UserKeys.derive("new", REALM, "secret")
    await rig.store.put(REALM, new)
    rig.now += 5.0
    assert await rig.ask("new") == new
    rig.now += 5.0
    assert await rig.ask("ann") is None


async def test_an_unknown_name_is_not_looked_up_again_at_once(rig: Rig) -> None:
    assert await rig.ask("mallory") is None
    rig.now += 4.9
    assert rig.begin("mallory") == [None]
    assert len(rig.store.asked) == 1


async def test_equal_questions_are_one_lookup(rig: Rig) -> None:
    rig.store.gate.clear()
    asked = [rig.begin("ann") for _ in range(50)]
    asked_else = rig.begin("bob")
    await asyncio.sleep(0)
    assert len(rig.store.asked) == 2
    rig.store.gate.set()
    await rig.settle()
    assert asked == [[ANN]] * 50
    assert asked_else == [BOB]


async def test_nobody_waits_for_the_store_to_ask_for_another_user(rig: Rig) -> None:
    await rig.ask("bob")
    rig.store.gate.clear()
    waiting = rig.begin("ann")
    assert rig.begin("bob") == [BOB]
    assert waiting == []
    rig.store.gate.set()
    await rig.settle()


async def test_while_the_store_is_down_known_users_go_on_and_others_are_told(rig: Rig) -> None:
    assert await rig.ask("ann") == ANN
    rig.now += 50.0
    rig.store.failure = DOWN
    # The first finds out; it is answered all the same.
    assert await rig.ask("ann") == ANN
    assert rig.told == [DOWN]
    # Nobody waits for a store that is known to be down.
    assert rig.begin("bob") == [DOWN]
    assert rig.begin("ann") == [ANN]
    assert len(rig.store.asked) == 2
    assert rig.condition.counts["users known while the store was down"] == 1


async def test_what_was_not_found_is_not_taken_for_unknown_while_the_store_is_down(
    rig: Rig,
) -> None:
    assert await rig.ask("mallory") is None
    rig.store.failure = DOWN
    assert await rig.ask("ann") is DOWN
    rig.now += 5.0
    assert await rig.ask("mallory") is DOWN


async def test_keys_do_not_outlive_their_time_though_the_store_stays_down(rig: Rig) -> None:
    assert await rig.ask("ann") == ANN
    rig.store.failure = DOWN
    rig.now += 99.9
    assert await rig.ask("ann") == ANN
    rig.now += 0.1
    assert rig.begin("ann") == [DOWN]
    assert len(rig.cache) == 0


async def test_a_store_that_is_down_is_tried_once_a_second_and_heals(rig: Rig) -> None:
    rig.store.failure = DOWN
    assert await rig.ask("ann") is DOWN
    rig.now += 0.9
    assert rig.begin("ann") == [DOWN]
    assert len(rig.store.asked) == 1
    rig.now += 0.1
    # One question tries; the others do not wait for it.
    rig.store.gate.clear()
    trying, other, joined = rig.begin("ann"), rig.begin("bob"), rig.begin("ann")
    assert (trying, other) == ([], [DOWN])
    rig.store.failure = None
    rig.store.gate.set()
    await rig.settle()
    assert trying == joined == [ANN]
    assert rig.told == [DOWN, None]
    assert await rig.ask("bob") == BOB


async def test_a_known_user_heals_the_store_without_waiting(rig: Rig) -> None:
    await rig.ask("ann")
    rig.store.failure = DOWN
    rig.now += 20.0
    await rig.ask("ann")
    rig.store.failure = None
    rig.now += 1.0
    assert rig.begin("ann") == [ANN]
    await rig.settle()
    assert rig.told == [DOWN, None]


async def test_a_store_that_does_not_answer_is_down(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "ANSWER_LIMIT", 0.01)
    rig.store.gate.clear()
    answer = await rig.ask("ann")
    assert isinstance(answer, StoreFailure)
    assert str(answer) == "memory: no answer in 0.01 s"
    rig.store.gate.set()


async def test_a_defect_of_a_store_leaves_nobody_waiting(rig: Rig) -> None:
    rig.store.failure = ZeroDivisionError("a bug")
    answer = await rig.ask("ann")
    assert isinstance(answer, StoreFailure)
    assert "a bug" in str(answer)
    rig.store.failure = None
    rig.now += 1.0
    assert await rig.ask("ann") == ANN


async def test_a_flood_of_names_is_bounded_and_pushes_out_no_user(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_UNKNOWN", 20)
    monkeypatch.setattr(cache_module, "MAX_KNOWN", 20)
    await rig.ask("ann")
    for number in range(100):
        assert await rig.ask(f"nobody {number}") is None
    assert len(rig.cache) == 21
    assert rig.begin("ann") == [ANN]
    assert rig.begin("nobody 99") == [None]


async def test_known_users_are_bounded_and_the_oldest_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_KNOWN", 3)
    names = ["a", "b", "c", "d"]
    for name in names:
        await rig.store.put(REALM, UserKeys.derive(name, REALM, "secret"))
        await rig.ask(name)
    assert len(rig.cache) == 3
    rig.store.failure = DOWN
    assert await rig.ask("a") is DOWN
    assert [len(rig.begin(name)) for name in names[1:]] == [1, 1, 1]


async def test_lookups_at_once_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_LOOKUPS", 5)
    await rig.ask("ann")
    rig.now += 10.0
    rig.store.gate.clear()
    waiting = [rig.begin(f"nobody {number}") for number in range(5)]
    (refused,) = rig.begin("nobody else")
    assert isinstance(refused, StoreFailure)
    # Who is known is not shut out by it.
    assert rig.begin("ann") == [ANN]
    assert rig.told == []
    rig.store.gate.set()
    await rig.settle()
    assert waiting == [[None]] * 5


async def test_closing_answers_nobody_and_leaves_no_task(rig: Rig) -> None:
    rig.store.gate.clear()
    waiting = rig.begin("ann")
    await asyncio.sleep(0)
    await rig.cache.aclose()
    assert waiting == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
