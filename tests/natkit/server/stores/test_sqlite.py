"""The store in a file."""

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from natkit.errors import ConfigError, StoreFailure
from natkit.server.stores.sqlite import SqliteStore
from natkit.server.stores.store import UserKeys
from tests.natkit.server.stores.contract import ANN, BOB, REALM, StoreContract


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "users.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.aclose()


def plant(path: Path, content: bytes | None, *, mode: int = 0o600) -> None:
    """Put a file there, or change the mode of the one that is."""
    if content is not None:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    path.chmod(mode)


def read(path: Path) -> bytes:
    return path.read_bytes()


class TestSqliteStore(StoreContract):
    pass


async def test_what_one_process_changes_the_other_sees(path: Path, store: SqliteStore) -> None:
    other = SqliteStore(path)
    await other.put(REALM, ANN)
    assert await store.find(REALM, ANN.userhash(REALM)) == ANN
    await other.remove(REALM, "ann")
    assert await store.find(REALM, ANN.userhash(REALM)) is None
    await other.aclose()


async def test_users_outlive_the_process(path: Path, store: SqliteStore) -> None:
    await store.put(REALM, ANN)
    await store.aclose()
    again = SqliteStore(path)
    assert await again.users(REALM) == [ANN]
    await again.aclose()


async def test_no_other_user_of_the_machine_can_read_it(path: Path, store: SqliteStore) -> None:
    await store.put(REALM, ANN)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await store.aclose()
    plant(path, None, mode=0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await _opened(path)


async def test_no_password_is_in_it(path: Path, store: SqliteStore) -> None:
    await store.put(REALM, UserKeys.derive("eve", REALM, "hunter2"))
    await store.aclose()
    content = read(path)
    assert b"eve" in content
    assert b"hunter2" not in content


async def _opened(path: Path) -> None:
    store = SqliteStore(path)
    try:
        await store.open()
    finally:
        await store.aclose()


async def test_a_file_that_is_no_database_is_a_mistake(path: Path) -> None:
    plant(path, b"something else, and longer than the header of a database is: " * 3)
    with pytest.raises(ConfigError, match="is no SQLite database"):
        await _opened(path)


async def test_a_database_of_a_newer_version_is_left_alone(path: Path) -> None:
    plant(path, b"")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="newer natkit"):
        await _opened(path)


@pytest.fixture
def locked(path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


async def test_readers_do_not_wait_for_a_writer(
    store: SqliteStore, locked: sqlite3.Connection
) -> None:
    assert await store.find(REALM, ANN.userhash(REALM)) is None


async def test_a_writer_waits_for_another(store: SqliteStore, locked: sqlite3.Connection) -> None:
    writing = asyncio.create_task(store.put(REALM, ANN))
    # Reads that were asked for later are behind it: there is one thread.
    reading = asyncio.create_task(store.find(REALM, ANN.userhash(REALM)))
    await asyncio.sleep(0)
    locked.execute("COMMIT")
    assert await writing is True
    assert await reading == ANN


async def test_it_heals_when_the_file_can_be_opened_again(path: Path) -> None:
    plant(path / "in the way", b"")
    store = SqliteStore(path)
    with pytest.raises(StoreFailure, match="Is a directory"):
        await store.find(REALM, ANN.userhash(REALM))
    path.rename(path.with_name("aside"))  # noqa: ASYNC240 - a test's own files
    assert await store.put(REALM, ANN)
    assert await store.find(REALM, ANN.userhash(REALM)) == ANN
    await store.aclose()


async def test_one_thread_serves_all(store: SqliteStore) -> None:
    before = threading.active_count()
    await asyncio.gather(*(store.put(REALM, user) for user in (ANN, BOB) * 20))
    assert threading.active_count() == before
    assert await store.users(REALM) == [ANN, BOB]


async def test_a_file_of_version_1_gains_the_keys_that_it_lacked(path: Path) -> None:
    plant(path, b"")
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(
            "CREATE TABLE users (userhash BLOB PRIMARY KEY, realm TEXT NOT NULL,"
            " username TEXT NOT NULL, md5 BLOB, sha256 BLOB) WITHOUT ROWID;"
            "CREATE TABLE secrets (secret_hash BLOB PRIMARY KEY, realm TEXT NOT NULL,"
            " secret TEXT NOT NULL, created REAL NOT NULL) WITHOUT ROWID;"
            "PRAGMA user_version = 1;"
        )
        row = (ANN.userhash(REALM), REALM, "ann", ANN.md5, ANN.sha256)
        database.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", row)
    stores = [SqliteStore(path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    assert await stores[0].users(REALM) == [UserKeys("ann", ANN.md5, ANN.sha256)]
    await stores[1].put(REALM, ANN)
    assert await stores[2].users(REALM) == [ANN]
    for store in stores:
        await store.aclose()
