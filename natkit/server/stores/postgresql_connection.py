"""How PostgreSQL is reached where groups of rows go at once, without SQLAlchemy in between."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, cast

import asyncpg

from natkit.errors import ConfigError
from natkit.server.stores.database_url import POSTGRESQL, parse_database_url, shown
from natkit.server.stores.store import ANSWER_LIMIT

__all__ = ["PostgresqlConnections", "Session"]


class Session(Protocol):
    """What is used of asyncpg's connection, which declares no types."""

    async def execute(self, query: str, *values: object) -> str:
        """Run a statement."""
        ...

    async def fetch(self, query: str, *values: object) -> Sequence[Sequence[object]]:
        """Run a query, and give its rows."""
        ...

    async def fetchval(self, query: str, *values: object) -> object:
        """Run a query, and give the first value of its first row, or None."""
        ...


class _Connection(Session, Protocol):
    def transaction(self, *, isolation: str) -> AbstractAsyncContextManager[object]: ...


class _Pool(Protocol):
    def acquire(self) -> AbstractAsyncContextManager[_Connection]: ...

    def terminate(self) -> None: ...


class PostgresqlConnections:
    """Connections to the database of ``url``, ``largest_count`` at the most; made when needed.

    ConfigError for a URL that names none.  ``name`` is the URL for people, without the password.
    """

    def __init__(self, url: str, largest_count: int) -> None:
        parsed = parse_database_url(url)
        if parsed.drivername != POSTGRESQL:
            raise ConfigError(f"{parsed.get_backend_name()} is not PostgreSQL")
        self.name = shown(parsed)
        # The URL means here what it means to SQLAlchemy.
        _, self._arguments = parsed.get_dialect()().create_connect_args(parsed)
        self._largest_count = largest_count
        self._pool: _Pool | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """A transaction that commits at the end; raises what asyncpg does.

        Each of its statements sees what others had committed before it, whatever the database's
        own default: who waits for a lock must see what was done by who had it.
        """
        if self._pool is None:
            # Without connections to begin with, this waits for nothing.
            self._pool = cast(
                "_Pool",
                await asyncpg.create_pool(
                    min_size=0,
                    max_size=self._largest_count,
                    timeout=ANSWER_LIMIT,
                    command_timeout=ANSWER_LIMIT,
                    **self._arguments,
                ),
            )
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="read_committed"),
        ):
            yield connection

    async def aclose(self) -> None:
        """Drop all connections; nothing may be under way."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None
