"""Bindings in one file: read from memory, and written by one thread in groups.

While a transaction is being committed the REGISTERs that come meanwhile gather for the next one; so
a disk that takes 10 ms to be sure lets through as many as come in 10 ms.  Where many come, the next
one waits for some more of them, for a transaction costs as much as a hundred rows.  A REGISTER is
answered once its group is committed: what was acknowledged outlives a killed process.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final

from natkit.errors import ConfigError, MalformedMessage
from natkit.machine import Failure
from sip_proxy.events import Overloaded
from sip_proxy.location import Accepted, Binding, BindingTable, Registration
from sip_proxy.location.table import LARGEST_COUNT
from sip_proxy.location.text import from_text, to_text
from sip_proxy.shell.stores.location import Found, Together, Updated

__all__ = ["LARGEST_WAITING", "SqliteLocation"]

VERSION: Final = 1
"""The version of the table, as the database's ``user_version``."""

LARGEST_WAITING: Final = 10_000
"""REGISTERs that wait to be written, while the disk stalls; one more is answered 503."""

LARGEST_GROUP: Final = 400
"""REGISTERs of one transaction: to answer them all takes as long as others wait to be heard.

They are one statement, and SQLite before 3.32 takes 999 values in one.
"""

GATHERING: Final = 0.01
"""Seconds for which more are waited for, where some came while those before were written."""

LOCK_LIMIT: Final = 5.0
"""Seconds for which another program, a backup say, may have the file locked."""

_TABLE: Final = """
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

    advice: Sequence[str] = ()

    def __init__(self, path: Path, largest_count: int = LARGEST_COUNT) -> None:
        self._path = path
        self._table = BindingTable(largest_count)
        self._lock: int | None = None
        self.failure: str | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sip-proxy-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._gathering: list[_Waiting] = []
        self._expired: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
        self._together: Together = nullcontext

    @property
    def name(self) -> str:
        """Where the file is."""
        return str(self._path)

    def __len__(self) -> int:
        """How many addresses of record have bindings."""
        return len(self._table)

    async def open(self) -> None:
        """Read all bindings.

        ConfigError for a file that is none of ours or damaged, and for one that another process has
        open: it would not see our changes, nor we its.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    def answer_within(self, together: Together) -> None:
        """Give the outcomes of a group within ``together`` from now on."""
        self._together = together

    def find(self, address_of_record: str, unix_now: float, found: Found) -> None:
        """Give the bindings that have not expired."""
        found(self._table.find(address_of_record, unix_now))

    def update(
        self, address_of_record: str, registration: Registration, unix_now: float, updated: Updated
    ) -> None:
        """Apply a REGISTER; one that changes nothing is answered at once."""
        if len(self._gathering) >= LARGEST_WAITING:
            updated(Overloaded(f"{self._path}: too many registrations wait"))
            return
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

    async def listed(self, limit: int) -> Sequence[str]:
        """Up to ``limit`` addresses of record with bindings."""
        return list(islice(self._table, limit))

    async def aclose(self) -> None:
        """Commit what is under way, and close the file."""
        while self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, self._end)
        self._thread.shutdown()

    # ── groups ──────────────────────────────────────────────────────────────────────────────────

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._gathering or self._expired:
                await self._write_group()
                if 0 < len(self._gathering) < LARGEST_GROUP:
                    await asyncio.sleep(GATHERING)
        finally:
            self._writing = None

    async def _write_group(self) -> None:
        group = self._gathering[:LARGEST_GROUP]
        del self._gathering[:LARGEST_GROUP]
        rows: dict[str, tuple[Binding, ...]] = dict.fromkeys(self._expired, ())
        self._expired = set()
        rows.update({each.address_of_record: each.outcome.bindings for each in group})
        kept = {name: to_text(bindings) for name, bindings in rows.items() if bindings}
        gone = [name for name, bindings in rows.items() if not bindings]
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._commit, kept, gone)
        except (sqlite3.Error, OSError) as error:
            self.failure = f"{self._path}: {_why(error)}"
            self._fail(group, Failure(self.failure))
            return
        self.failure = None
        with self._together():
            for each in group:
                each.updated(each.outcome)

    def _fail(self, group: list[_Waiting], failure: Failure) -> None:
        # What was not kept must not be used either; later changes build on it, and fail with it.
        for each in reversed([*group, *self._gathering]):
            self._table.put(each.address_of_record, each.before)
        failed, self._gathering = [*group, *self._gathering], []
        with self._together():
            for each in failed:
                each.updated(failure)

    # What follows runs on the thread.

    def _load(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            connection = self._connection = self._connect()
            # Nobody looks at the table yet.
            for name, text in connection.execute(
                "SELECT address_of_record, bindings FROM bindings"
            ):
                self._table.put(str(name), from_text(text))
        except (sqlite3.Error, OSError, MalformedMessage) as error:
            self._end()
            raise ConfigError(f"{self._path}: {_why(error)}") from error

    def _take_lock(self) -> None:
        # On a file beside: to close any descriptor of the database would undo SQLite's own locks.
        path = self._path.with_name(f"{self._path.name}.lock")
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError("another process has it open; each needs its own") from None

    def _commit(self, kept: Mapping[str, str], gone: Sequence[str]) -> None:
        if self._connection is None:
            self._connection = self._connect()
        try:
            with self._connection as connection:
                if kept:
                    # In one statement, for each takes the interpreter from the loop and gives it
                    # back; as do the texts, which are ready.
                    places = ", ".join(["(?, ?)"] * len(kept))
                    values = list(chain.from_iterable(kept.items()))
                    connection.execute(f"REPLACE INTO bindings VALUES {places}", values)  # noqa: S608 - question marks
                connection.executemany(
                    "DELETE FROM bindings WHERE address_of_record = ?", [(name,) for name in gone]
                )
        except sqlite3.Error:
            # A file that came back, or a disk with room again, is opened anew.
            self._close()
            raise

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=LOCK_LIMIT)
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

    def _end(self) -> None:
        self._close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _why(error: Exception) -> str:
    if isinstance(error, sqlite3.OperationalError) or not isinstance(error, sqlite3.DatabaseError):
        return getattr(error, "strerror", None) or str(error)
    # What is no database, or one with broken pages: nothing that waiting heals.
    return f"{error}; restore it, or remove it and the phones register anew"
