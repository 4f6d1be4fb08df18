"""Bindings in one file: read from memory, and written by one thread in groups.

While a transaction is being committed the REGISTERs that come meanwhile gather for the next one; so
a disk that takes 10 ms to be sure lets through as many as come in 10 ms.  A REGISTER is answered
once its group is committed: what was acknowledged outlives a killed process.
"""

import asyncio
import os
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from natkit.errors import ConfigError, MalformedMessage
from natkit.machine import Failure
from sip_proxy.location import Accepted, Binding, BindingTable, Registration
from sip_proxy.location.text import from_text, to_text
from sip_proxy.shell.stores.location import Found, Updated

__all__ = ["SqliteLocation"]

VERSION = 1
"""The version of the table, as the database's ``user_version``."""

_TABLE = """
CREATE TABLE IF NOT EXISTS bindings (
    address_of_record TEXT PRIMARY KEY,
    bindings TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class _Waiting:
    address_of_record: str
    before: tuple[Binding, ...]
    outcome: Accepted
    updated: Updated


class SqliteLocation:
    """A :class:`~sip_proxy.shell.stores.location.Location` that one process uses at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._table = BindingTable()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sip-proxy-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._gathering: list[_Waiting] = []
        self._expired: set[str] = set()
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read all bindings; ConfigError for a file that is not ours."""
        loop = asyncio.get_running_loop()
        for address_of_record, bindings in await loop.run_in_executor(self._thread, self._load):
            self._table.put(address_of_record, bindings)

    def find(self, address_of_record: str, unix_now: float, found: Found) -> None:
        """Give the bindings that have not expired."""
        found(self._table.find(address_of_record, unix_now))

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float, updated: Updated
    ) -> None:
        """Apply a REGISTER; one that changes nothing is answered at once."""
        before = self._table.get(address_of_record)
        outcome = self._table.update(address_of_record, registration, unix_now)
        if not isinstance(outcome, Accepted) or outcome.bindings == before:
            updated(outcome)
            return
        self._gathering.append(_Waiting(address_of_record, before, outcome, updated))
        self._write_soon()

    def forget_expired(self, unix_now: float) -> None:
        """Free what has expired, in memory and in the file."""
        before = set(self._table)
        self._table.forget_expired(unix_now)
        self._expired |= before - set(self._table)
        if self._expired:
            self._write_soon()

    async def aclose(self) -> None:
        """Commit what is under way, and close the file."""
        while self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    # ── groups ──────────────────────────────────────────────────────────────────────────────────

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._gathering or self._expired:
                group, self._gathering = self._gathering, []
                rows = dict.fromkeys(self._expired, "")
                self._expired = set()
                for each in group:
                    bindings = each.outcome.bindings
                    rows[each.address_of_record] = to_text(bindings) if bindings else ""
                try:
                    await loop.run_in_executor(self._thread, self._commit, rows)
                except (sqlite3.Error, OSError) as error:
                    self._fail(group, Failure(f"{self._path}: {error}"))
                else:
                    for each in group:
                        each.updated(each.outcome)
        finally:
            self._writing = None

    def _fail(self, group: list[_Waiting], failure: Failure) -> None:
        # What was not kept must not be used either; later changes build on it, and fail with it.
        for each in reversed([*group, *self._gathering]):
            self._table.put(each.address_of_record, each.before)
        failed, self._gathering = [*group, *self._gathering], []
        for each in failed:
            each.updated(failure)

    # What follows runs on the thread.

    def _load(self) -> list[tuple[str, tuple[Binding, ...]]]:
        try:
            connection = self._connection = self._connect()
            rows = connection.execute("SELECT address_of_record, bindings FROM bindings").fetchall()
            return [(str(name), from_text(text)) for name, text in rows]
        except (sqlite3.Error, OSError, MalformedMessage) as error:
            self._close()
            raise ConfigError(f"{self._path}: {error}") from error

    def _commit(self, rows: Mapping[str, str]) -> None:
        if self._connection is None:
            self._connection = self._connect()
        try:
            with self._connection as connection:
                connection.executemany(
                    "REPLACE INTO bindings VALUES (?, ?)",
                    [(name, text) for name, text in rows.items() if text],
                )
                connection.executemany(
                    "DELETE FROM bindings WHERE address_of_record = ?",
                    [(name,) for name, text in rows.items() if not text],
                )
        except sqlite3.Error:
            # A file that came back, or a disk with room again, is opened anew.
            self._close()
            raise

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise OSError("it was written by a newer natkit")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
