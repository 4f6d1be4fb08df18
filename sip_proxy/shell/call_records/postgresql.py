"""Records in PostgreSQL: a group is one transaction."""

from collections.abc import Sequence
from typing import Final

from natkit.server.stores.postgresql_connection import PostgresqlConnections
from sip_proxy.calls import CallRecord
from sip_proxy.shell.call_records.rows import COLUMNS, TABLE, row_of

__all__ = ["PostgresqlRecords"]

_CREATE: Final = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id bigserial PRIMARY KEY, "
    f"{', '.join(f'{name} {kind}' for name, kind in COLUMNS)})"
)
_INDEX: Final = f"CREATE INDEX IF NOT EXISTS {TABLE}_by_start ON {TABLE} (started)"
_TYPES: Final = [kind.removesuffix(" NOT NULL") for _, kind in COLUMNS]
_INSERT: Final = (
    f"INSERT INTO {TABLE} ({', '.join(name for name, _ in COLUMNS)}) "  # noqa: S608 - our own names
    f"SELECT * FROM unnest({', '.join(f'${n}::{kind}[]' for n, kind in enumerate(_TYPES, 1))})"
)


class PostgresqlRecords:
    """A :class:`~sip_proxy.shell.call_records.recording.Writer` of ``natkit_call_records``.

    The table is made by the first write: a database that is down when the proxy starts does not
    keep it from starting.
    """

    def __init__(self, url: str) -> None:
        self._connections = PostgresqlConnections(url, 1)
        self._has_table = False

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._connections.name

    async def open(self) -> None:
        """Wait for nothing."""

    async def write(self, records: Sequence[CallRecord]) -> None:
        """Insert them; what asyncpg raises."""
        async with self._connections.transaction() as session:
            if not self._has_table:
                await session.execute(_CREATE)
                await session.execute(_INDEX)
            if records:
                columns = zip(*map(row_of, records), strict=True)
                await session.execute(_INSERT, *map(list, columns))
        self._has_table = True

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connections.aclose()
