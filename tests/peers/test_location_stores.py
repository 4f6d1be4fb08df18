"""Bindings in real databases: shared by proxies, kept over a restart, and back when they are."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from redis.asyncio import Redis

from natkit.errors import StoreFailure
from natkit.machine import Failure
from sip_proxy.location import Accepted, Refused
from sip_proxy.shell.stores import SharedLocation, location_at
from tests.peering.databases import DATABASES, Database
from tests.sip_proxy.shell.location_contract import (
    ALICE,
    BOB,
    HERE,
    LocationContract,
    all_updated,
    contacts,
    found,
    registration,
    updated,
)

LIMIT = 60.0


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.peer(name)) for name in ("postgresql", "redis")],
)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """PostgreSQL with the isolation that is worst for who waits for a lock."""
    running = DATABASES[request.param]()
    if running.name == "postgresql":
        asyncio.run(
            execute(running, "ALTER ROLE natkit SET default_transaction_isolation = serializable")
        )
    yield running
    running.remove()


async def execute(database: Database, statement: str) -> None:
    """Run a statement in PostgreSQL."""
    connection = await asyncpg.connect(database.url)
    await connection.execute(statement)
    await connection.close()


class Clock:
    """Seconds that pass when a test says so: a store that was down is asked again."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def connect(database: Database) -> SharedLocation:
    location = location_at(database.url, None, Clock(), largest_count=1000)
    assert isinstance(location, SharedLocation)
    return location


async def empty(database: Database) -> None:
    if database.name == "redis":
        async with Redis.from_url(database.url) as redis:
            await redis.flushdb()
        return
    await execute(database, "TRUNCATE natkit_bindings")


@pytest.fixture
async def location(database: Database) -> AsyncIterator[SharedLocation]:
    location = connect(database)
    await location.open()
    yield location
    await location.aclose()
    await empty(database)


async def test_proxies_that_start_at_once_find_one_empty_store(database: Database) -> None:
    """The first test of each database: there is no table yet."""
    locations = [connect(database) for _ in range(4)]
    await asyncio.gather(*(location.open() for location in locations))
    assert [location.failure for location in locations] == [None] * 4
    await updated(locations[0], ALICE, registration())
    for location in locations:
        assert await contacts(location, ALICE) == [HERE]
        await location.aclose()
    await empty(database)


class TestLocation(LocationContract):
    pass


async def test_proxies_that_change_one_address_of_record_at_once_both_have_their_way(
    database: Database, location: SharedLocation
) -> None:
    """Each phone registers at its own proxy, and each renews: none undoes another's."""
    others = [connect(database) for _ in range(3)]
    proxies = [location, *others]
    names = [f"sip:{number}@example.org" for number in range(5)]
    async with asyncio.timeout(LIMIT):
        for turn in range(1, 11):
            outcomes = await asyncio.gather(
                *(
                    updated(
                        proxy, name, registration(turn, f"sip:{index}@x.org", call_id=f"{index}")
                    )
                    for index, proxy in enumerate(proxies)
                    for name in names
                )
            )
            assert all(isinstance(outcome, Accepted) for outcome in outcomes), outcomes
            for name in names:
                bindings = await found(location, name)
                assert not isinstance(bindings, Failure)
                assert {(each.contact, each.cseq) for each in bindings} == {
                    (f"sip:{index}@x.org", turn) for index in range(4)
                }
    # Nor is order lost: of one Call-ID only a higher number counts, whichever proxy it comes to.
    late = await updated(others[0], names[0], registration(5, "sip:0@x.org", call_id="0"))
    assert isinstance(late, Refused)
    for proxy in others:
        await proxy.aclose()


async def test_proxies_whose_groups_overlap_wait_in_no_circle(
    database: Database, location: SharedLocation
) -> None:
    other = connect(database)
    names = [f"sip:{number}@example.org" for number in range(300)]
    forwards = [(name, registration(call_id="1", contact="sip:1@x.org")) for name in names]
    backwards = [(name, registration(call_id="2", contact="sip:2@x.org")) for name in names[::-1]]
    async with asyncio.timeout(LIMIT):
        outcomes = await asyncio.gather(
            all_updated(location, forwards), all_updated(other, backwards)
        )
    assert all(isinstance(outcome, Accepted) for group in outcomes for outcome in group)
    for name in names[::30]:
        assert await contacts(other, name) == ["sip:1@x.org", "sip:2@x.org"]
    await other.aclose()


async def test_a_restart_is_survived_and_loses_nothing(
    database: Database, location: SharedLocation
) -> None:
    await updated(location, ALICE, registration())
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, database.stop)
    for number in range(3):
        failure = await updated(location, BOB, registration(number))
        assert isinstance(failure, Failure)
        assert location.name in failure.reason
        assert database.password not in failure.reason
        assert isinstance(await found(location, ALICE), Failure)
    with pytest.raises(StoreFailure):
        await location.listed(1)
    await loop.run_in_executor(None, database.start)
    assert await contacts(location, ALICE) == [HERE]
    assert isinstance(await updated(location, BOB, registration()), Accepted)
    assert location.failure is None


async def test_a_database_that_is_down_at_the_start_is_used_once_it_is_there(
    database: Database,
) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, database.stop)
    location = connect(database)
    await location.open()
    assert location.failure is not None
    await loop.run_in_executor(None, database.start)
    assert isinstance(await updated(location, ALICE, registration()), Accepted)
    await location.aclose()
    await empty(database)


async def test_what_another_software_wrote_fails_those_whom_it_is_of_and_nobody_else(
    database: Database, location: SharedLocation
) -> None:
    await all_updated(location, [(ALICE, registration()), (BOB, registration())])
    if database.name == "redis":
        async with Redis.from_url(database.url) as redis:
            await redis.set(f"natkit:bindings:{ALICE}", "nonsense")
    else:
        broken = f"UPDATE natkit_bindings SET bindings = 'x' WHERE address_of_record = '{ALICE}'"
        await execute(database, broken)
    outcomes = await all_updated(location, [(ALICE, registration(2)), (BOB, registration(2))])
    assert isinstance(outcomes[0], Failure)
    assert isinstance(outcomes[1], Accepted)
    assert isinstance(await found(location, ALICE), Failure)
    assert await contacts(location, BOB) == [HERE]


@pytest.mark.peer("redis")
async def test_bindings_vanish_from_redis_by_themselves() -> None:
    """Should all proxies be gone, what they left does not stay for ever."""
    server = DATABASES["redis"]()
    location = connect(server)
    async with Redis.from_url(server.url) as redis:
        await updated(location, ALICE, registration(expires=90))
        lifetime = await redis.pttl(f"natkit:bindings:{ALICE}")
        assert 0 < lifetime <= 91_000
        await updated(location, ALICE, registration(2, expires=7200))
        assert await redis.pttl(f"natkit:bindings:{ALICE}") > 91_000
        await updated(location, ALICE, registration(3, expires=0))
        assert await redis.keys("natkit:*") == []
    await location.aclose()
    server.remove()


@pytest.mark.peer("redis")
async def test_what_redis_refuses_of_one_fails_it_alone() -> None:
    server = DATABASES["redis"]()
    location = connect(server)
    async with Redis.from_url(server.url) as redis:
        await redis.lpush(f"natkit:bindings:{ALICE}", "of another program")
        outcomes = await all_updated(location, [(ALICE, registration()), (BOB, registration())])
    assert isinstance(outcomes[0], Failure)
    assert "WRONGTYPE" in outcomes[0].reason
    assert isinstance(outcomes[1], Accepted)
    await location.aclose()
    server.remove()


@pytest.mark.peer("redis")
async def test_redis_that_forgets_is_noticed() -> None:
    server = DATABASES["redis"]()
    location = connect(server)
    await location.open()
    assert location.advice == []
    async with Redis.from_url(server.url) as redis:
        await redis.config_set("appendonly", "no")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
    await location.open()
    assert [line.partition(":")[0] for line in location.advice] == [
        "registrations end with Redis",
        "Redis may drop registrations",
    ]
    await location.aclose()
    server.remove()


@pytest.mark.peer("postgresql")
async def test_postgresql_that_forgets_is_noticed_and_who_was_there_is_counted() -> None:
    server = DATABASES["postgresql"]()
    await execute(server, "ALTER ROLE natkit SET synchronous_commit = off")
    location = connect(server)
    await location.open()
    assert [line.partition(":")[2] for line in location.advice] == [
        " set synchronous_commit on",
        " set fsync on",
    ]
    names = [f"sip:{number}@example.org" for number in range(1000)]
    await all_updated(location, [(name, registration()) for name in names])
    await location.aclose()
    again = connect(server)
    await again.open()
    assert isinstance(await updated(again, ALICE, registration()), Refused)
    await again.aclose()
    server.remove()
