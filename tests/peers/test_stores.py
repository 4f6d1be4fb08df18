"""Stores in real databases: they do what every store does, and come back when they went away."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
from redis.asyncio import Redis
from sqlalchemy import text
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.aio.turn import allocate
from natkit.errors import StoreFailure, Unauthenticated
from natkit.server.stores.opening import store_at
from natkit.server.stores.sql import SqlStore
from natkit.server.stores.store import Store, UserKeys
from stun_server.config import Config
from stun_server.shell.running import RunningServer
from stun_server.shell.serving import start
from stun_server.shell.state import ephemeral_keys
from tests.natkit.server.stores.contract import ANN, REALM, StoreContract
from tests.peering.databases import DATABASES, Database

LIMIT = 30.0


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.peer(name)) for name in DATABASES],
)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    running = DATABASES[request.param]()
    yield running
    running.remove()


def connect(database: Database) -> Store:
    store = store_at(database.url, None)
    assert store is not None
    return store


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    store = connect(database)
    await store.open()
    yield store
    for user in await store.users(REALM):
        await store.remove(REALM, user.username)
    for secret in await store.secrets(REALM):
        await store.remove_secret(REALM, secret)
    await store.aclose()


async def test_servers_that_start_at_once_find_one_empty_store(database: Database) -> None:
    """The first test of each database: there are no tables yet."""
    stores = [connect(database) for _ in range(4)]
    try:
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].put(REALM, ANN)
        assert [await store.users(REALM) for store in stores] == [[ANN]] * 4
        await stores[1].remove(REALM, "ann")
    finally:
        for store in stores:
            await store.aclose()


class TestStore(StoreContract):
    pass


async def test_a_restart_is_survived_without_a_new_store(database: Database, store: Store) -> None:
    await store.put(REALM, ANN)
    database.stop()
    for _ in range(3):
        with pytest.raises(StoreFailure) as caught:
            await store.find(REALM, ANN.userhash(REALM))
        assert database.password not in str(caught.value)
        assert store.name in str(caught.value)
    database.start()
    assert await store.find(REALM, ANN.userhash(REALM)) == ANN


async def forget_newest_key(database: Database, store: Store) -> None:
    """Leave the store as natkit 0.1 wrote it, which knew MD5 and SHA-256 alone."""
    if isinstance(store, SqlStore):
        async with store._engine.begin() as connection:
            await connection.execute(text("ALTER TABLE natkit_users DROP COLUMN sha512_256"))
        return
    async with Redis.from_url(database.url) as redis:
        (userhash, entry), *_ = (await redis.hgetall(f"natkit:users:{REALM}")).items()
        described = json.loads(entry)
        del described["sha512_256"]
        await redis.hset(f"natkit:users:{REALM}", userhash, json.dumps(described))


async def test_users_of_an_older_natkit_are_there_without_the_key_that_it_did_not_know(
    database: Database, store: Store
) -> None:
    await store.put(REALM, ANN)
    await forget_newest_key(database, store)
    again = connect(database)
    await again.open()
    assert await again.users(REALM) == [UserKeys("ann", ANN.md5, ANN.sha256)]
    await again.put(REALM, ANN)
    assert await again.users(REALM) == [ANN]
    await again.aclose()


async def test_a_wrong_password_for_the_store_is_a_failure_and_not_shown(
    database: Database,
) -> None:
    store = store_at(database.url.replace(database.password, "hunter2"), None)
    assert store is not None
    with pytest.raises(StoreFailure) as caught:
        await store.find(REALM, ANN.userhash(REALM))
    assert "hunter2" not in str(caught.value)
    await store.aclose()


# With a server, under load.


class Load:
    """Clients that allocate one after the other while the test goes on."""

    def __init__(self, uri: str, username: str) -> None:
        self.done = 0
        self._task = asyncio.create_task(self._go_on(uri, username))

    async def more(self, count: int) -> None:
        """Until so many more have been through; an error of theirs is raised."""
        wanted = self.done + count
        while self.done < wanted:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _go_on(self, uri: str, username: str) -> None:
        while True:
            async with allocate(uri, username=username, password="secret"):
                self.done += 1


@asynccontextmanager
async def serving(
    database: Database,
) -> AsyncIterator[tuple[RunningServer, str, Sequence[Mapping[str, object]]]]:
    config = Config.model_validate(
        {
            "listeners": {"listen": ["127.0.0.1:0"]},
            "users": {"realm": REALM, "store": database.url, "cache_fresh": 1},
            "policy": {"allow_peer": ["127.0.0.0/8"]},
        }
    )
    with capture_logs() as log:
        server = await start(config, ephemeral_keys(), structlog.get_logger())
        try:
            yield server, f"turn:{server.listeners[0].address}?transport=udp", log
        finally:
            await server.aclose()
    assert "internal error" not in [line["event"] for line in log]


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - a log has no event to wait for
        await asyncio.sleep(0.01)


@asynccontextmanager
async def stranger(uri: str, log: Sequence[Mapping[str, object]]) -> AsyncIterator[None]:
    """One who is not known, and is told 500 and not 401.

    Nothing proves the 500 to it, so its client goes on trying (RFC 8489 §9.2.5).
    """

    def refusals() -> list[object]:
        return [line["code"] for line in log if line["event"] == "request refused"]

    async def attempt() -> None:
        async with allocate(uri, username="stranger", password="secret"):
            pass

    before = len(refusals())
    task = asyncio.create_task(attempt())
    try:
        await until(lambda: len(refusals()) > before)
        assert set(refusals()[before:]) == {500}
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_server_outlives_its_store_and_finds_it_again(
    database: Database, store: Store
) -> None:
    """Under load: known users allocate and data is relayed all the time, others get 500."""
    loop = asyncio.get_running_loop()
    for name in ("known", "stranger"):
        await store.put(REALM, UserKeys.derive(name, REALM, "secret"))
    async with asyncio.timeout(LIMIT * 3), serving(database) as (server, uri, log):
        load = [Load(uri, "known") for _ in range(4)]
        await load[0].more(5)
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.bind(("127.0.0.1", 0))
            there = Address(*peer.getsockname())
            async with allocate(uri, username="known", password="secret") as relay:
                await relay.bind_channel(there)

                async def relays(count: int) -> None:
                    for number in range(count):
                        await relay.send(number.to_bytes(2, "big"), there)
                        assert await loop.sock_recv(peer, 100) == number.to_bytes(2, "big")

                await relays(100)
                await loop.run_in_executor(None, database.stop)
                await relays(100)
                await until(lambda: [line for line in log if line["event"] == "store down"])
                async with stranger(uri, log):
                    for _ in range(5):
                        await load[0].more(20)
                        with pytest.raises(Unauthenticated):
                            async with allocate(uri, username="known", password="wrong"):
                                pass
                        await relays(20)
                await loop.run_in_executor(None, database.start)
                await until(lambda: [line for line in log if line["event"] == "store back"])
                await load[0].more(20)
                await relays(20)
        async with allocate(uri, username="stranger", password="secret"):
            pass
        for each in load:
            await each.more(1)
            await each.stop()
        counts = server.counts()
        assert counts["store failures"]
        assert counts["users known while the store was down"]


async def test_a_server_starts_while_its_store_is_down(database: Database, store: Store) -> None:
    await store.put(REALM, ANN)
    database.stop()
    async with asyncio.timeout(LIMIT), serving(database) as (_, uri, log):
        assert "store down" in [line["event"] for line in log]
        database.start()
        await until(lambda: [line for line in log if line["event"] == "store back"])
        async with allocate(uri, username="ann", password="secret"):
            pass


@pytest.mark.peer("redis")
async def test_a_store_that_hangs_holds_nobody_up() -> None:
    database = DATABASES["redis"]()
    try:
        store = connect(database)
        await store.put(REALM, ANN)
        async with asyncio.timeout(LIMIT * 2), serving(database) as (_, uri, log):
            load = Load(uri, "ann")
            await load.more(5)
            os.kill(database.process.pid, signal.SIGSTOP)
            await until(lambda: [line for line in log if line["event"] == "store down"])
            async with stranger(uri, log):
                await load.more(50)
            os.kill(database.process.pid, signal.SIGCONT)
            await until(lambda: [line for line in log if line["event"] == "store back"])
            await load.more(50)
            await load.stop()
        await store.aclose()
    finally:
        os.kill(database.process.pid, signal.SIGCONT)
        database.remove()
