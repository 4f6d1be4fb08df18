"""From what a configuration says to a store."""

from pathlib import Path

from natkit.cli.entry import extra
from natkit.errors import ConfigError
from natkit.server.stores.sqlite import SqliteStore
from natkit.server.stores.store import Store

__all__ = ["DATABASE", "KINDS", "STORES", "store_at"]

DATABASE = "users.sqlite3"
"""The file in the data directory."""

STORES = frozenset({"none", "sqlite", "postgresql", "mysql", "mariadb", "redis", "rediss", "unix"})
"""What the URL of a store begins with."""

KINDS = (
    "sqlite, sqlite:FILE, postgresql://…, mysql://…, mariadb://…, redis://…, rediss://…, unix://…"
    " or none"
)
"""What a store may be, for people."""


def store_at(url: str, data_dir: Path | None) -> Store | None:
    """The store that ``url`` names; nothing is opened yet.

    ``sqlite`` alone is a file in ``data_dir``, or no store for a server without one.  ConfigError
    for another kind, and for one whose driver is not installed; its text never holds a password.
    """
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "none" if not colon:
            return None
        case "sqlite" if not colon:
            return SqliteStore(data_dir / DATABASE) if data_dir is not None else None
        case "sqlite" if rest and not rest.startswith("//"):
            return SqliteStore(Path(rest))
        case "postgresql" | "mysql" | "mariadb" if colon:
            name = "postgresql" if scheme == "postgresql" else "mysql"
            with extra(name, f"a store in {scheme}"):
                # Here, so that who uses another store needs none of it.
                from natkit.server.stores.sql import SqlStore  # noqa: PLC0415

                return SqlStore(url)
        case "redis" | "rediss" | "unix" if colon:
            with extra("redis", "a store in redis"):
                from natkit.server.stores.redis import RedisStore  # noqa: PLC0415

                return RedisStore(url)
        case _:
            raise ConfigError(f"a store is {KINDS}")
