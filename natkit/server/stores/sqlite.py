"""A store in one file: SQLite, by one thread that alone touches the database.

Several processes may use the file at once, so that commands change what a running server sees.
"""

import asyncio
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from natkit.errors import ConfigError, StoreFailure
from natkit.server.stores.store import ANSWER_LIMIT, Summary, UserKeys, secret_hash
from natkit.stun.credentials import user_hash

__all__ = ["SqliteStore"]

T = TypeVar("T")

VERSION = 2
"""The version of the tables, as the database's ``user_version``."""

_TABLES = """
CREATE TABLE IF NOT EXISTS users (
    userhash BLOB PRIMARY KEY,
    realm TEXT NOT NULL,
    username TEXT NOT NULL,
    md5 BLOB,
    sha256 BLOB,
    sha512_256 BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS users_by_realm ON users (realm, username);
CREATE TABLE IF NOT EXISTS secrets (
    secret_hash BLOB PRIMARY KEY,
    realm TEXT NOT NULL,
    secret TEXT NOT NULL,
    created REAL NOT NULL
) WITHOUT ROWID;
"""

_FROM_VERSION_1 = "ALTER TABLE users ADD COLUMN sha512_256 BLOB;"


class SqliteStore:
    """Users and secrets in a file of mode 0600; see :class:`~natkit.server.stores.store.Store`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="natkit-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    @property
    def name(self) -> str:
        """Where it is."""
        return str(self._path)

    async def open(self) -> None:
        """Create the file and its tables, if they are not there.

        ConfigError for a file that others may read, or that is no database of ours.
        """
        await self._run(lambda _: None)

    async def aclose(self) -> None:
        """Close the file."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
            # The thread has nothing left to do, so this does not wait.
            self._thread.shutdown()

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        """The user of this hash."""
        found = await self._users("userhash = ? AND realm = ?", (userhash, realm))
        return found[0] if found else None

    async def users(self, realm: str) -> Sequence[UserKeys]:
        """All users, by name."""
        return await self._users("realm = ? ORDER BY username", (realm,))

    async def summary(self, realm: str) -> Summary:
        """Counts."""

        def work(connection: sqlite3.Connection) -> Summary:
            users, *held = connection.execute(
                "SELECT count(*), count(md5), count(sha256), count(sha512_256) FROM users"
                " WHERE realm = ?",
                (realm,),
            ).fetchone()
            md5, sha256, sha512_256 = [users - each for each in held]
            return Summary(users, md5, sha256, sha512_256)

        return await self._run(work)

    async def put(self, realm: str, user: UserKeys) -> bool:
        """Add a user, or replace its keys; whether it is new."""
        userhash = user.userhash(realm)

        def work(connection: sqlite3.Connection) -> bool:
            replaced = connection.execute("DELETE FROM users WHERE userhash = ?", (userhash,))
            connection.execute(
                "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)",
                (userhash, realm, user.username, user.md5, user.sha256, user.sha512_256),
            )
            return not replaced.rowcount

        return await self._run(work)

    async def remove(self, realm: str, username: str) -> bool:
        """Remove a user; whether it was there."""
        return await self._changes(
            "DELETE FROM users WHERE userhash = ?", (user_hash(username, realm),)
        )

    async def secrets(self, realm: str) -> Sequence[str]:
        """The secrets, the newest first."""

        def work(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                "SELECT secret FROM secrets WHERE realm = ? ORDER BY created DESC", (realm,)
            )
            return [secret for (secret,) in rows]

        return await self._run(work)

    async def add_secret(self, realm: str, secret: str) -> bool:
        """Add a secret; whether it is new."""
        return await self._changes(
            "INSERT OR IGNORE INTO secrets VALUES (?, ?, ?, ?)",
            (secret_hash(realm, secret), realm, secret, time.time()),
        )

    async def remove_secret(self, realm: str, secret: str) -> bool:
        """Remove a secret; whether it was there."""
        return await self._changes(
            "DELETE FROM secrets WHERE secret_hash = ?", (secret_hash(realm, secret),)
        )

    async def _users(self, condition: str, values: tuple[str | bytes, ...]) -> list[UserKeys]:
        statement = f"SELECT username, md5, sha256, sha512_256 FROM users WHERE {condition}"  # noqa: S608 - ours
        return await self._run(
            lambda database: [UserKeys(*row) for row in database.execute(statement, values)]
        )

    async def _changes(self, statement: str, values: tuple[object, ...]) -> bool:
        return await self._run(lambda database: database.execute(statement, values).rowcount > 0)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._work, work)

    # What follows runs on the thread.

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection as connection:
                return work(connection)
        except (sqlite3.Error, OSError) as error:
            # A file that came back, or a disk with room again, is opened anew.
            self._close()
            why = getattr(error, "strerror", None) or str(error)
            raise StoreFailure(f"{self._path}: {why}") from error

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite would create it as the umask says.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
            raise ConfigError(f"{self._path} can be read by others; chmod 600 {self._path}")
        connection = sqlite3.connect(self._path, timeout=ANSWER_LIMIT / 2)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        try:
            with closing(connection.execute("PRAGMA user_version")) as cursor:
                (version,) = cursor.fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise ConfigError(f"{self._path} is no SQLite database") from error
        if version > VERSION:
            raise ConfigError(f"{self._path} was written by a newer natkit")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            self._upgrade(connection)

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        # Another process may be at it too, so what is to be done is looked at in the transaction.
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < VERSION:
            statements = _FROM_VERSION_1 if version else _TABLES
            for statement in statements.split(";")[:-1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.commit()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
