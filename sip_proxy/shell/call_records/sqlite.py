"""Records in SQLite: a group is one transaction, on the disk once it has committed."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from natkit.errors import ConfigError
from sip_proxy.calls import CallRecord
from sip_proxy.shell.call_records.rows import COLUMNS, TABLE, row_of

__all__ = ["SqliteRecords"]

LOCK_LIMIT: Final = 5.0
"""Seconds that another program, as a report, may keep the file."""

_CREATE: Final = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id integer PRIMARY KEY, "
    f"{', '.join(f'{name} {kind}' for name, kind in COLUMNS)})"
)
_INDEX: Final = f"CREATE INDEX IF NOT EXISTS {TABLE}_by_start ON {TABLE} (started)"
_INSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(name for name, _ in COLUMNS)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * len(COLUMNS))})"
)


class SqliteRecords:
    """A :class:`~sip_proxy.shell.call_records.recording.Writer` of a table in a file."""

    def __init__(self, path: Path) -> None:
        self.name = f"sqlite:{path}"
        self._path = path
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or make the file; ConfigError when that is not possible."""
        try:
            await asyncio.to_thread(self._connected)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"call records in {self._path}: {reason}") from error

    async def write(self, records: Sequence[CallRecord]) -> None:
        """Insert them; OSError or sqlite3.Error."""
        await asyncio.to_thread(self._insert, [row_of(each) for each in records])

    async def aclose(self) -> None:
        """Close the file."""
        self._close()

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        connection = self._connected()
        try:
            with connection:
                connection.executemany(_INSERT, rows)
        except sqlite3.Error:
            # A file that came back is opened anew.
            self._close()
            raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(self._path, timeout=LOCK_LIMIT, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_CREATE)
                connection.execute(_INDEX)
                connection.commit()
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
