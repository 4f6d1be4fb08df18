"""Bindings in PostgreSQL, for one proxy or several.

A group of REGISTERs is one transaction.  It holds an advisory lock for each of its addresses of
record, so that two proxies that change one at once do so one after the other; the locks are taken
in one order by all, so nobody waits in a circle.
"""

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from natkit.errors import MalformedMessage
from natkit.machine import Failure
from natkit.server.stores.postgresql_connection import PostgresqlConnections, Session
from sip_proxy.location import Outcome
from sip_proxy.location.group import Change, Held, apply_all
from sip_proxy.location.text import from_text, to_text

__all__ = ["PostgresqlBindings"]

CONNECTIONS: Final = 3
"""One for REGISTERs, one for lookups, and one for what is done now and then."""

LOCKS: Final = 1024
"""Advisory locks that the addresses of record share: the server has room for some thousands."""

_LOCK_CLASS: Final = int.from_bytes(b"sipb", "big")
"""What tells our advisory locks from those of other programs."""

_TABLE: Final = """
CREATE TABLE natkit_bindings (
    address_of_record text COLLATE "C" PRIMARY KEY,
    bindings text NOT NULL,
    expires_at double precision NOT NULL
)
"""
_INDEX: Final = "CREATE INDEX natkit_bindings_by_expiry ON natkit_bindings (expires_at)"
_LOCK: Final = "SELECT pg_advisory_xact_lock($1::int, each) FROM unnest($2::int[]) AS each"
_SELECT: Final = """
SELECT address_of_record, bindings FROM natkit_bindings WHERE address_of_record = ANY($1::text[])
"""
_REPLACE: Final = """
INSERT INTO natkit_bindings
SELECT * FROM unnest($1::text[], $2::text[], $3::double precision[])
ON CONFLICT (address_of_record)
DO UPDATE SET bindings = excluded.bindings, expires_at = excluded.expires_at
"""
_DELETE: Final = "DELETE FROM natkit_bindings WHERE address_of_record = ANY($1::text[])"


_DURABLE: Final = ("synchronous_commit", "fsync")
_IS_THERE: Final = "SELECT to_regclass('natkit_bindings') IS NOT NULL"
_FORGET: Final = "DELETE FROM natkit_bindings WHERE expires_at <= $1"
_COUNT: Final = "SELECT count(*) FROM natkit_bindings"
_LISTED: Final = "SELECT address_of_record FROM natkit_bindings LIMIT $1"


class PostgresqlBindings:
    """:class:`~sip_proxy.shell.stores.shared.Bindings` in the table ``natkit_bindings``.

    ``url`` is ``postgresql://user:password@host/database``; ConfigError for another.
    """

    def __init__(self, url: str) -> None:
        self._connections = PostgresqlConnections(url, CONNECTIONS)
        self._has_table = False
        self._count = 0
        self._advice: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Where it is."""
        return self._connections.name

    @property
    def advice(self) -> Sequence[str]:
        """What of its configuration loses what it has committed."""
        return self._advice

    async def open(self) -> None:
        """Make the table, if it is not there, and look how the database is configured."""
        async with self._transaction() as session:
            await self._count_rows(session)
            off = [name for name in _DURABLE if await session.fetchval(f"SHOW {name}") == "off"]
        self._advice = tuple([f"registrations end with PostgreSQL: set {name} on" for name in off])

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def fetch(self, addresses_of_record: Sequence[str]) -> Mapping[str, Held]:
        """What is held of each."""
        async with self._transaction() as session:
            return await self._held(session, addresses_of_record)

    async def apply(
        self, changes: Sequence[Change], largest_count: int
    ) -> Sequence[Outcome | Failure]:
        """Apply each on what is held."""
        names = sorted({change.address_of_record for change in changes})
        async with self._transaction() as session:
            locks = sorted({zlib.crc32(name.encode()) % LOCKS for name in names})
            await session.execute(_LOCK, _LOCK_CLASS, locks)
            held = await self._held(session, names)
            before = dict(held)
            outcomes = apply_all(changes, held, largest_count - self._count)
            await self._write(session, before, held)
        self._count += sum(map(bool, held.values())) - len(before)
        return outcomes

    async def forget_expired(self, unix_now: float) -> int:
        """Delete what has expired; how many are left."""
        async with self._transaction() as session:
            await session.execute(_FORGET, unix_now)
            await self._count_rows(session)
        return self._count

    async def listed(self, limit: int) -> Sequence[str]:
        """Some of them."""
        async with self._transaction() as session:
            return [str(name) for (name,) in await session.fetch(_LISTED, limit)]

    async def _count_rows(self, session: Session) -> None:
        # Now and then, for other proxies add theirs.
        count = await session.fetchval(_COUNT)
        self._count = count if isinstance(count, int) else 0

    async def _held(self, session: Session, names: Sequence[str]) -> dict[str, Held]:
        rows = await session.fetch(_SELECT, names)
        return {str(name): self._read(str(name), str(text)) for name, text in rows}

    def _read(self, name: str, text: str) -> Held:
        try:
            return from_text(text)
        except MalformedMessage as error:
            return Failure(f"{self.name}: {name}: {error}")

    async def _write(
        self, session: Session, before: Mapping[str, Held], held: Mapping[str, Held]
    ) -> None:
        changed = {
            name: bindings
            for name, bindings in held.items()
            if not isinstance(bindings, Failure) and bindings != before.get(name, ())
        }
        rows = [
            (name, to_text(bindings), max(binding.expires_at for binding in bindings))
            for name, bindings in changed.items()
            if bindings
        ]
        if rows:
            await session.execute(_REPLACE, *map(list, zip(*rows, strict=True)))
        gone = [name for name, bindings in changed.items() if not bindings]
        if gone:
            await session.execute(_DELETE, gone)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Session]:
        if not self._has_table:
            async with self._connections.transaction() as session:
                # Another proxy may be at it too.
                await session.execute(_LOCK, _LOCK_CLASS, [LOCKS])
                if not await session.fetchval(_IS_THERE):
                    await session.execute(_TABLE)
                    await session.execute(_INDEX)
            self._has_table = True
        async with self._connections.transaction() as session:
            yield session
