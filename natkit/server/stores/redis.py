"""A store in Redis, or in what speaks its protocol.

``natkit:users:REALM`` is a hash from the user's hash to a JSON object with ``username``, ``md5``,
``sha256`` and ``sha512_256``; ``natkit:secrets:REALM`` is a sorted set of secrets by the time of
their creation.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from natkit.errors import StoreFailure
from natkit.server.stores.redis_connection import redis_at
from natkit.server.stores.store import ANSWER_LIMIT, Summary, UserKeys
from natkit.stun.credentials import user_hash

__all__ = ["RedisStore"]

SCAN_COUNT = 1_000
"""Users that one step of a count asks for."""


class RedisStore:
    """Users and secrets in Redis; see :class:`~natkit.server.stores.store.Store`.

    ``url`` is ``redis://user:password@host:port/number``, ``rediss:`` for TLS, or
    ``unix:///path/to/socket``; ConfigError for another.
    """

    def __init__(self, url: str) -> None:
        self._redis, self._name = redis_at(url)

    @property
    def name(self) -> str:
        """Where it is."""
        return self._name

    async def open(self) -> None:
        """Nothing has to be made."""
        async with self._asking():
            await self._redis.ping()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        """The user of this hash."""
        async with self._asking():
            text = await self._redis.hget(_users(realm), userhash)
            return _read(text) if text is not None else None

    async def users(self, realm: str) -> Sequence[UserKeys]:
        """All users, by name."""
        async with self._asking(limit=None):
            return sorted(
                [user async for user in self._scan(realm)], key=lambda user: user.username
            )

    async def summary(self, realm: str) -> Summary:
        """Counts."""
        async with self._asking(limit=None):
            return Summary.of([user async for user in self._scan(realm)])

    async def put(self, realm: str, user: UserKeys) -> bool:
        """Add a user, or replace its keys; whether it is new."""
        text = json.dumps(
            {
                "username": user.username,
                "md5": user.md5.hex() if user.md5 is not None else None,
                "sha256": user.sha256.hex() if user.sha256 is not None else None,
                "sha512_256": user.sha512_256.hex() if user.sha512_256 is not None else None,
            }
        )
        async with self._asking():
            return await self._redis.hset(_users(realm), user.userhash(realm), text) > 0

    async def remove(self, realm: str, username: str) -> bool:
        """Remove a user; whether it was there."""
        async with self._asking():
            return await self._redis.hdel(_users(realm), user_hash(username, realm)) > 0

    async def secrets(self, realm: str) -> Sequence[str]:
        """The secrets, the newest first."""
        async with self._asking():
            found = await self._redis.zrevrange(_secrets(realm), 0, -1)
            return [secret.decode() for secret in found if isinstance(secret, bytes)]

    async def add_secret(self, realm: str, secret: str) -> bool:
        """Add a secret; whether it is new."""
        async with self._asking():
            return bool(await self._redis.zadd(_secrets(realm), {secret: time.time()}, nx=True))

    async def remove_secret(self, realm: str, secret: str) -> bool:
        """Remove a secret; whether it was there."""
        async with self._asking():
            return await self._redis.zrem(_secrets(realm), secret) > 0

    async def _scan(self, realm: str) -> AsyncIterator[UserKeys]:
        # A scan may show a field twice while the hash grows.
        seen: set[bytes] = set()
        async for userhash, text in self._redis.hscan_iter(_users(realm), count=SCAN_COUNT):
            if userhash not in seen:
                seen.add(userhash)
                yield _read(text)

    @asynccontextmanager
    async def _asking(self, limit: float | None = ANSWER_LIMIT) -> AsyncIterator[None]:
        # Each step has the limit of its socket in any case.
        try:
            async with asyncio.timeout(limit):
                yield
        except Exception as error:
            why = f"no answer in {ANSWER_LIMIT:g} s" if isinstance(error, TimeoutError) else error
            raise StoreFailure(f"{self._name}: {why}") from error


def _users(realm: str) -> str:
    return f"natkit:users:{realm}"


def _secrets(realm: str) -> str:
    return f"natkit:secrets:{realm}"


def _read(text: bytes | str) -> UserKeys:
    match json.loads(text):
        case {"username": str(username), **keys}:
            md5, sha256, sha512_256 = map(_key, map(keys.get, ("md5", "sha256", "sha512_256")))
            return UserKeys(username, md5, sha256, sha512_256)
    raise ValueError("an entry holds no user")


def _key(text: object) -> bytes | None:
    return bytes.fromhex(text) if isinstance(text, str) else None
