"""A store in memory: the users of a configuration, and the simplest thing that is a store."""

from collections.abc import Iterable, Sequence

from natkit.server.stores.store import Summary, UserKeys
from natkit.stun.credentials import user_hash

__all__ = ["StaticStore"]


class StaticStore:
    """Users and secrets of one process; see :class:`~natkit.server.stores.store.Store`.

    What stands here can be had without waiting too, by :meth:`get`.
    """

    def __init__(self, realm: str = "", users: Iterable[UserKeys] = ()) -> None:
        self._users: dict[str, dict[bytes, UserKeys]] = {}
        self._secrets: dict[str, dict[str, None]] = {}
        for user in users:
            self._put(realm, user)

    @property
    def name(self) -> str:
        """Where it is."""
        return "memory"

    def get(self, realm: str, userhash: bytes) -> UserKeys | None:
        """The user of this hash, at once."""
        return self._users.get(realm, {}).get(userhash)

    def summarize(self, realm: str) -> Summary:
        """The summary, at once."""
        return Summary.of(list(self._users.get(realm, {}).values()))

    async def open(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        """The user of this hash."""
        return self.get(realm, userhash)

    async def users(self, realm: str) -> Sequence[UserKeys]:
        """All users, by name."""
        return sorted(self._users.get(realm, {}).values(), key=lambda user: user.username)

    async def summary(self, realm: str) -> Summary:
        """Counts."""
        return self.summarize(realm)

    async def put(self, realm: str, user: UserKeys) -> bool:
        """Add a user, or replace its keys; whether it is new."""
        return self._put(realm, user)

    async def remove(self, realm: str, username: str) -> bool:
        """Remove a user; whether it was there."""
        users = self._users.get(realm, {})
        return users.pop(user_hash(username, realm), None) is not None

    async def secrets(self, realm: str) -> Sequence[str]:
        """The secrets, the newest first."""
        return tuple(reversed(self._secrets.get(realm, {})))

    async def add_secret(self, realm: str, secret: str) -> bool:
        """Add a secret; whether it is new."""
        secrets = self._secrets.setdefault(realm, {})
        is_new = secret not in secrets
        secrets[secret] = None
        return is_new

    async def remove_secret(self, realm: str, secret: str) -> bool:
        """Remove a secret; whether it was there."""
        secrets = self._secrets.get(realm, {})
        was_there = secret in secrets
        secrets.pop(secret, None)
        return was_there

    def _put(self, realm: str, user: UserKeys) -> bool:
        users = self._users.setdefault(realm, {})
        userhash = user.userhash(realm)
        is_new = userhash not in users
        users[userhash] = user
        return is_new
