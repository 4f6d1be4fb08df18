"""How Redis is reached, alike for all that is kept in it."""

from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from natkit.errors import ConfigError
from natkit.server.stores.store import ANSWER_LIMIT

__all__ = ["redis_at"]

RETRIES = 1


def redis_at(url: str) -> tuple[Redis, str]:
    """A client for ``url``, and the URL for people, without the password; nothing is opened yet.

    ``url`` is ``redis://user:password@host:port/number``, ``rediss:`` for TLS, or
    ``unix:///path/to/socket``; ConfigError for another.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port is not None else ""
        client = Redis.from_url(
            url,
            socket_timeout=ANSWER_LIMIT,
            socket_connect_timeout=ANSWER_LIMIT,
            # A connection that a restart of Redis ended is made anew.
            retry=Retry(NoBackoff(), RETRIES),
        )
    except ValueError:
        # The text holds a password, so it is not repeated.
        raise ConfigError("the store's URL cannot be read") from None
    return client, f"{parts.scheme}://{host}{port}{parts.path}"
