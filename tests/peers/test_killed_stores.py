"""No registration that was answered by 200 is lost, whoever of proxy and database is killed."""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.peering.databases import DATABASES, Database
from tests.sip_proxy.process import LIMIT, sip_proxy
from tests.sip_proxy.registering import lost, registering


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.peer(name)) for name in ("postgresql", "redis")],
)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    running = DATABASES[request.param]()
    yield running
    running.remove()


@pytest.fixture
async def safe(database: Database) -> Database:
    """The database as its operator is to set it up."""
    if database.name == "redis":
        async with Redis.from_url(database.url) as redis:
            await redis.config_set("appendfsync", "always")
    return database


def tables(database: Database) -> str:
    return f'[users]\nauthenticate = false\n[registrations]\nstore = "{database.url}"\n'


def kill(database: Database) -> None:
    """End it as ``kill -9`` does, and return when what it had started has ended too."""
    pid = database.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    database.process.stop(signal.SIGKILL)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(child))
            assert select.select([descriptor], [], [], LIMIT)[0]
            os.close(descriptor)


async def test_a_proxy_that_is_killed_under_load_loses_nothing(
    safe: Database, tmp_path: Path
) -> None:
    """Its sister takes over at once: what was registered at one is known to the other."""
    with (
        sip_proxy(tmp_path / "first", tables(safe)) as first,
        sip_proxy(tmp_path / "second", tables(safe)) as second,
    ):
        async with (
            registering(first.address, "first") as load,
            registering(second.address, "second") as other,
        ):
            await load.more(60)
            first.kill()
            await other.more(60)
        assert await lost(second.address, load.acknowledged + other.acknowledged) == []


async def test_a_database_that_is_killed_under_load_has_kept_all_that_was_acknowledged(
    safe: Database, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    with sip_proxy(tmp_path / "proxy", tables(safe)) as proxy:
        async with registering(proxy.address, "before") as load:
            await load.more(60)
            await loop.run_in_executor(None, kill, safe)
            await load.answered(500)
            await loop.run_in_executor(None, safe.start)
            await load.more(60)
        assert load.statuses == {200, 500}
        assert await lost(proxy.address, load.acknowledged) == []
