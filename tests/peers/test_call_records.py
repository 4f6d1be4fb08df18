"""Records of calls in a real PostgreSQL, which goes away and comes back."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from natkit.server.stores.postgresql_connection import PostgresqlConnections
from sip_proxy.shell.call_records import recording_at
from sip_proxy.shell.call_records.rows import COLUMNS, TABLE
from tests.peering.databases import DATABASES, Database
from tests.sip_proxy.shell.test_call_records import record

LIMIT = 30.0

pytestmark = pytest.mark.peer("postgresql")


@pytest.fixture
def database() -> Iterator[Database]:
    running = DATABASES["postgresql"]()
    yield running
    running.remove()


async def test_no_record_is_lost_while_the_database_is_away(database: Database) -> None:
    told: list[str | None] = []
    recording = recording_at(database.url, told.append)
    assert recording is not None
    assert database.password not in recording.name
    await recording.open()
    recording.put(record(0))
    async with asyncio.timeout(LIMIT):
        while len(recording):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    database.stop()
    for number in range(1, 700):
        recording.put(record(number, sender="sip:a\0\udcff@example.org"))
    async with asyncio.timeout(LIMIT):
        while not told:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    database.start()
    async with asyncio.timeout(LIMIT):
        while len(recording):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    await recording.aclose()
    assert (recording.lost, told[-1]) == (0, None)
    connections = PostgresqlConnections(database.url, 1)
    names = ", ".join(name for name, _ in COLUMNS)
    async with connections.transaction() as session:
        rows = await session.fetch(f"SELECT {names} FROM {TABLE} ORDER BY id")
    await connections.aclose()
    assert [row[0] for row in rows] == [f"{number}@alice" for number in range(700)]
    first, second = rows[0], rows[1]
    described = record(0).described()
    assert first[6:12] == (
        1_700_000_000.0,
        1_700_000_001.0,
        1_700_000_002.5,
        1_700_000_062.75,
        60.25,
        200,
    )
    assert json.loads(str(first[-1])) == described["branches"]
    assert second[1] == "sip:a??@example.org"
