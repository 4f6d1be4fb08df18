"""The secrets of time-limited credentials, as a store changes under them."""

import asyncio
from collections.abc import Sequence

import pytest

from natkit.errors import StoreFailure
from natkit.server.stores.cache import CacheTimes
from natkit.server.stores.condition import Condition
from natkit.server.stores.secrets import MAX_SECRETS, SecretWatch
from natkit.server.stores.static import StaticStore

REALM = "example.org"
DOWN = StoreFailure("down")


class FakeStore(StaticStore):
    def __init__(self) -> None:
        super().__init__()
        self.failure: StoreFailure | None = None
        self.asked = asyncio.Event()

    async def secrets(self, realm: str) -> Sequence[str]:
        self.asked.set()
        if self.failure is not None:
            raise self.failure
        return await super().secrets(realm)


class Rig:
    def __init__(self, *configured: str, fresh: float = 0.0) -> None:
        self.now = 0.0
        self.told: list[StoreFailure | None] = []
        self.store = FakeStore()
        self.watch = SecretWatch(
            configured,
            self.store,
            REALM,
            times=CacheTimes(fresh=fresh, lifetime=100.0),
            condition=Condition(self.told.append),
            clock=lambda: self.now,
        )

    async def next_answer(self) -> None:
        """Until the store has been asked twice more: then the first answer counts."""
        for _ in range(2):
            self.store.asked.clear()
            await self.store.asked.wait()


async def test_changes_in_the_store_count_without_restart() -> None:
    rig = Rig("from the file")
    await rig.store.add_secret(REALM, "old")
    await rig.watch.start()
    assert list(rig.watch.current) == ["from the file", "old"]
    await rig.store.add_secret(REALM, "new")
    await rig.next_answer()
    assert list(rig.watch.current) == ["from the file", "new", "old"]
    await rig.store.remove_secret(REALM, "old")
    await rig.next_answer()
    assert list(rig.watch.current) == ["from the file", "new"]
    await rig.watch.aclose()


async def test_secrets_outlive_their_store_for_a_time() -> None:
    rig = Rig("from the file")
    await rig.store.add_secret(REALM, "stored")
    await rig.watch.start()
    rig.store.failure = DOWN
    rig.now = 99.0
    await rig.next_answer()
    assert list(rig.watch.current) == ["from the file", "stored"]
    assert rig.told == [DOWN]
    rig.now = 100.0
    await rig.next_answer()
    assert list(rig.watch.current) == ["from the file"]
    rig.store.failure = None
    await rig.next_answer()
    assert list(rig.watch.current) == ["from the file", "stored"]
    assert rig.told == [DOWN, None]
    await rig.watch.aclose()


@pytest.mark.parametrize("configured", [0, 3, 50])
async def test_the_secrets_that_count_are_bounded(configured: int) -> None:
    rig = Rig(*(f"file {number}" for number in range(configured)), fresh=1000.0)
    for number in range(50):
        await rig.store.add_secret(REALM, str(number))
    await rig.watch.start()
    assert len(rig.watch.current) == MAX_SECRETS
    await rig.watch.aclose()


async def test_without_a_store_nothing_is_asked() -> None:
    watch = SecretWatch(
        ["one"],
        None,
        REALM,
        times=CacheTimes(),
        condition=Condition(lambda _: None),
        clock=lambda: 0.0,
    )
    await watch.start()
    assert watch.current == ("one",)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await watch.aclose()
