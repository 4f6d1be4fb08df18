"""Stores in PostgreSQL and in MySQL or MariaDB, by SQLAlchemy.

The tables are ``natkit_users`` and ``natkit_secrets``; they are made when they are missing.  Other
software may write them too: ``userhash`` is the SHA-256 of ``username:realm``; ``md5``, ``sha256``
and ``sha512_256`` are that hash of ``username:realm:password``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.types import TypeEngine

from natkit.errors import StoreFailure
from natkit.server.stores.database_url import POSTGRESQL, parse_database_url, shown
from natkit.server.stores.store import ANSWER_LIMIT, Summary, UserKeys, secret_hash
from natkit.stun.credentials import user_hash

__all__ = ["SqlStore"]

CONNECTIONS = 4
"""How many are kept: lookups are short, and a cache takes most of them."""


def _text(length: int) -> TypeEngine[str]:
    # MySQL's own collations take "A" for "a".
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(exact, "mysql", "mariadb")


def _binary(length: int) -> TypeEngine[bytes]:
    return LargeBinary(length).with_variant(mysql.BINARY(length), "mysql", "mariadb")


_METADATA = MetaData()
# Lengths in characters: RFC 8489 §14.3 and §14.9 bound names and realms in bytes.
_USERS = Table(
    "natkit_users",
    _METADATA,
    Column("userhash", _binary(32), primary_key=True),
    Column("realm", _text(127), nullable=False, index=True),
    Column("username", _text(508), nullable=False),
    Column("md5", _binary(16)),
    Column("sha256", _binary(32)),
    Column("sha512_256", _binary(32)),
)
_SECRETS = Table(
    "natkit_secrets",
    _METADATA,
    Column("secret_hash", _binary(32), primary_key=True),
    Column("realm", _text(127), nullable=False),
    Column("secret", _text(1024), nullable=False),
    Column("created", Double, nullable=False),
)


class SqlStore:
    """Users and secrets in a database; see :class:`~natkit.server.stores.store.Store`.

    ``url`` is ``postgresql://user:password@host/database``, or ``mysql:`` or ``mariadb:`` instead;
    ConfigError for another.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_database_url(url)
        self._name = shown(parsed)
        limit = "timeout" if parsed.drivername == POSTGRESQL else "connect_timeout"
        self._engine = create_async_engine(
            parsed,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=ANSWER_LIMIT,
            # A database that was restarted is noticed before a lookup is lost to it.
            pool_pre_ping=True,
            # Keys and secrets stay out of errors.
            hide_parameters=True,
            connect_args={limit: int(ANSWER_LIMIT)},
        )
        self._has_tables = False

    @property
    def name(self) -> str:
        """Where it is."""
        return self._name

    async def open(self) -> None:
        """Create the tables that are missing."""
        async with self._transaction():
            pass

    async def aclose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        """The user of this hash."""
        columns = _USERS.c
        found = await self._users(columns.userhash == userhash, columns.realm == realm)
        return found[0] if found else None

    async def users(self, realm: str) -> Sequence[UserKeys]:
        """All users, by name."""
        found = await self._users(_USERS.c.realm == realm)
        # Databases order text each in its own way.
        return sorted(found, key=lambda user: user.username)

    async def summary(self, realm: str) -> Summary:
        """Counts."""
        columns = _USERS.c
        statement = select(
            func.count(),
            func.count(columns.md5),
            func.count(columns.sha256),
            func.count(columns.sha512_256),
        ).where(columns.realm == realm)
        async with self._transaction() as connection:
            users, md5, sha256, sha512_256 = (await connection.execute(statement)).one()
        return Summary(users, users - md5, users - sha256, users - sha512_256)

    async def put(self, realm: str, user: UserKeys) -> bool:
        """Add a user, or replace its keys; whether it is new."""
        userhash = user.userhash(realm)
        async with self._transaction() as connection:
            replaced = await connection.execute(delete(_USERS).where(_USERS.c.userhash == userhash))
            await connection.execute(
                insert(_USERS).values(
                    userhash=userhash,
                    realm=realm,
                    username=user.username,
                    md5=user.md5,
                    sha256=user.sha256,
                    sha512_256=user.sha512_256,
                )
            )
        return not replaced.rowcount

    async def remove(self, realm: str, username: str) -> bool:
        """Remove a user; whether it was there."""
        statement = delete(_USERS).where(_USERS.c.userhash == user_hash(username, realm))
        async with self._transaction() as connection:
            return (await connection.execute(statement)).rowcount > 0

    async def secrets(self, realm: str) -> Sequence[str]:
        """The secrets, the newest first."""
        columns = _SECRETS.c
        statement = (
            select(columns.secret).where(columns.realm == realm).order_by(columns.created.desc())
        )
        async with self._transaction() as connection:
            return (await connection.scalars(statement)).all()

    async def add_secret(self, realm: str, secret: str) -> bool:
        """Add a secret; whether it is new."""
        key = secret_hash(realm, secret)
        async with self._transaction() as connection:
            present = select(func.count()).where(_SECRETS.c.secret_hash == key)
            if await connection.scalar(present):
                return False
            await connection.execute(
                insert(_SECRETS).values(
                    secret_hash=key, realm=realm, secret=secret, created=time.time()
                )
            )
        return True

    async def remove_secret(self, realm: str, secret: str) -> bool:
        """Remove a secret; whether it was there."""
        key = secret_hash(realm, secret)
        statement = delete(_SECRETS).where(_SECRETS.c.secret_hash == key)
        async with self._transaction() as connection:
            return (await connection.execute(statement)).rowcount > 0

    async def _users(self, *conditions: ColumnElement[bool]) -> list[UserKeys]:
        columns = _USERS.c
        keys = (columns.md5, columns.sha256, columns.sha512_256)
        statement = select(columns.username, *keys).where(*conditions)
        async with self._transaction() as connection:
            rows = (await connection.execute(statement)).all()
        return [UserKeys(*row) for row in rows]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                await self._create_tables()
                async with self._engine.begin() as connection:
                    yield connection
        except Exception as error:
            # Each driver has kinds of errors of its own, and not all of them come out translated.
            raise StoreFailure(f"{self._name}: {_why(error)}") from error

    async def _create_tables(self) -> None:
        if self._has_tables:
            return
        # Another server may make one of them in this moment, and then the next.
        for left in reversed(range(len(_METADATA.tables) + 1)):
            try:
                async with self._engine.begin() as connection:
                    await connection.run_sync(_prepare)
                break
            except DBAPIError:
                if not left:
                    raise
        self._has_tables = True


def _prepare(connection: Connection) -> None:
    """Create the tables that are missing, and the column that natkit 0.1 did not know."""
    _METADATA.create_all(connection)
    column = _USERS.c.sha512_256
    there = {each["name"] for each in inspect(connection).get_columns(_USERS.name)}
    if column.name not in there:
        kind = column.type.compile(connection.dialect)
        connection.execute(text(f"ALTER TABLE {_USERS.name} ADD COLUMN {column.name} {kind}"))


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {ANSWER_LIMIT:g} s"
    cause: object = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(cause).__name__
