"""What the URL of a database says, alike for all that is kept in one."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from natkit.errors import ConfigError

__all__ = ["MYSQL", "POSTGRESQL", "parse_database_url", "shown"]

POSTGRESQL = "postgresql+asyncpg"
MYSQL = "mysql+aiomysql"
_DRIVERS = {"postgresql": POSTGRESQL, "mysql": MYSQL, "mariadb": MYSQL}


def parse_database_url(url: str) -> URL:
    """Read ``postgresql://user:password@host/database``, or ``mysql:`` or ``mariadb:`` instead.

    The result's driver is :data:`POSTGRESQL` or :data:`MYSQL`.  ConfigError for another; its text
    holds no password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text holds a password, so it is not repeated.
        raise ConfigError("the store's URL cannot be read") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigError(f"a store by {parsed.drivername!r} is not known")
    if not parsed.database:
        raise ConfigError(f"the store's URL names no database: {parsed.render_as_string()}")
    if driver == POSTGRESQL and "sslmode" in parsed.query:
        # What libpq and its manuals call it; the driver takes the same words.
        mode = parsed.query["sslmode"]
        parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed.set(drivername=driver)


def shown(url: URL) -> str:
    """The URL for people: without password and driver."""
    return url.set(drivername=url.get_backend_name()).render_as_string()
