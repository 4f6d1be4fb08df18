"""From what a configuration says to a place for the bindings."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from natkit.cli.entry import extra
from natkit.errors import ConfigError, StoreFailure
from sip_proxy.location.table import LARGEST_COUNT
from sip_proxy.shell.stores.location import Location
from sip_proxy.shell.stores.memory import MemoryLocation
from sip_proxy.shell.stores.shared import Bindings, SharedLocation
from sip_proxy.shell.stores.sqlite import SqliteLocation

__all__ = ["DATABASE", "KINDS", "LOCATIONS", "location_at"]

DATABASE: Final = "bindings.sqlite3"
"""The file in the data directory."""

LOCATIONS: Final = frozenset({"memory", "sqlite", "postgresql", "redis", "rediss", "unix"})
"""What the URL of a location store begins with."""

KINDS: Final = "sqlite, sqlite:FILE, postgresql://…, redis://…, rediss://…, unix://… or memory"
"""What a location store may be, for people."""


def location_at(
    url: str,
    data_dir: Path | None,
    clock: Callable[[], float],
    on_change: Callable[[StoreFailure | None], None] = lambda _: None,
    *,
    largest_count: int = LARGEST_COUNT,
) -> Location:
    """Where ``url`` says that bindings are kept, of ``largest_count`` addresses of record.

    Nothing is opened yet.  ``sqlite`` alone is a file in ``data_dir``, or memory for a proxy
    without one.  ``on_change`` is told when a shared store goes down, and by None when it is back.
    ConfigError for another kind, and for one whose driver is not installed; its text never holds a
    password.
    """
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "memory" if not colon:
            return MemoryLocation(largest_count)
        case "sqlite" if not colon:
            if data_dir is None:
                return MemoryLocation(largest_count)
            return SqliteLocation(data_dir / DATABASE, largest_count)
        case "sqlite" if rest and not rest.startswith("//"):
            return SqliteLocation(Path(rest), largest_count)
        case "postgresql" | "redis" | "rediss" | "unix" if colon:
            bindings = _bindings_at(url, scheme)
            return SharedLocation(bindings, clock, on_change, largest_count=largest_count)
        case _:
            raise ConfigError(f"a location store is {KINDS}")


def _bindings_at(url: str, scheme: str) -> Bindings:
    # Imported here, so that who uses another store needs none of it.
    if scheme == "postgresql":
        with extra("postgresql", "bindings in postgresql"):
            from sip_proxy.shell.stores.postgresql import PostgresqlBindings  # noqa: PLC0415

            return PostgresqlBindings(url)
    with extra("redis", "bindings in redis"):
        from sip_proxy.shell.stores.redis import RedisBindings  # noqa: PLC0415

        return RedisBindings(url)
