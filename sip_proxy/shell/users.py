"""Who the users are: those of the configuration, and those of a store with a cache before it."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from natkit.errors import ConfigError, MisuseError, StoreFailure
from natkit.machine import Failure
from natkit.server.stores.cache import Answer, CacheTimes, UserCache
from natkit.server.stores.condition import Condition
from natkit.server.stores.store import Store, Summary, UserKeys
from natkit.sip.digest import Algorithm, ha1
from natkit.stun.credentials import opaque_string, user_hash

__all__ = ["Secrets", "UserStore", "Users", "keys_of"]

Secrets = Mapping[Algorithm, str]
"""The keys of a user by algorithm, as :func:`natkit.sip.digest.ha1` makes them."""

Found = Callable[[Secrets | Failure], None]

_NOBODY: Final[Secrets] = {}


def keys_of(username: str, domain: str, password: str) -> UserKeys:
    """What a store keeps of a user; ConfigError for a name or password that no phone can send.

    Both are prepared as OpaqueString (RFC 8265 §4.2), which leaves ASCII as it is.
    """
    try:
        name, secret = opaque_string(username), opaque_string(password)
    except MisuseError as error:
        raise ConfigError(f"user {username!r}: {error}") from error
    keys = {each: bytes.fromhex(ha1(name, domain, secret, each)) for each in Algorithm}
    return UserKeys(name, keys[Algorithm.MD5], keys[Algorithm.SHA_256], keys[Algorithm.SHA_512_256])


def secrets_of(keys: UserKeys) -> Secrets:
    """The keys that the store has of a user, by algorithm."""
    held = {
        Algorithm.SHA_512_256: keys.sha512_256,
        Algorithm.SHA_256: keys.sha256,
        Algorithm.MD5: keys.md5,
    }
    return {algorithm: key.hex() for algorithm, key in held.items() if key is not None}


@dataclass(frozen=True, slots=True)
class UserStore:
    """A store whose users count beside the configuration's, and how its answers are remembered.

    ``on_change`` is told when it goes down, and by None when it is back; ``clock`` is monotonic.
    """

    store: Store
    clock: Callable[[], float]
    times: CacheTimes = field(default_factory=CacheTimes)
    on_change: Callable[[StoreFailure | None], None] = lambda _: None


class Users:
    """The users of some domains; a domain is the realm of its users.

    ``configured`` are found first, by name and domain, without waiting.
    """

    def __init__(
        self,
        domains: Collection[str] = (),
        configured: Mapping[tuple[str, str], UserKeys] | None = None,
        stored: UserStore | None = None,
    ) -> None:
        self._configured = {
            (keys.username, domain): secrets_of(keys)
            for (_, domain), keys in (configured or {}).items()
        }
        self._stored = stored
        self.lacking: Counter[Algorithm] = Counter()
        """How many users have no key for an algorithm."""
        for secrets in self._configured.values():
            self.lacking.update(each for each in Algorithm if each not in secrets)
        self._condition = Condition(stored.on_change if stored is not None else lambda _: None)
        self._caches: dict[str, UserCache] = {}
        if stored is not None:
            self._caches = {
                domain: UserCache(
                    stored.store,
                    domain,
                    times=stored.times,
                    condition=self._condition,
                    clock=stored.clock,
                )
                for domain in domains
            }

    @classmethod
    def of_passwords(cls, passwords: Mapping[str, str], domains: Collection[str]) -> Self:
        """Users of every domain; ConfigError for a name or password that no phone can send."""
        configured = {
            (name, domain): keys_of(name, domain, password)
            for name, password in passwords.items()
            for domain in domains
        }
        return cls(domains, configured)

    @property
    def store_name(self) -> str | None:
        """Where the store is."""
        return self._stored.store.name if self._stored is not None else None

    @property
    def store_failure(self) -> str | None:
        """Why the store is down, if it is."""
        return str(self._condition.failure) if self._condition.failure is not None else None

    def served(self, algorithms: Sequence[Algorithm]) -> tuple[Algorithm, ...]:
        """Those of ``algorithms`` that the keys of every user serve, as it was at :meth:`open`.

        A phone takes the first that it is offered, and fails where its user lacks the key.  Where
        none serves every user, all are offered.
        """
        return tuple(each for each in algorithms if not self.lacking[each]) or tuple(algorithms)

    def counts(self) -> Counter[str]:
        """What happened with the store, by name."""
        return self._condition.counts.copy()

    async def open(self) -> None:
        """Make the store ready; one that is down is no reason not to start.

        ConfigError for what waiting does not heal.
        """
        if self._stored is not None:
            try:
                await self._stored.store.open()
                for domain in self._caches:
                    self._count(await self._stored.store.summary(domain))
            except StoreFailure as failure:
                self._condition.failed(failure)

    def find(self, username: str, realm: str, found: Found) -> None:
        """Give a user's keys, none where there is no such user: at once if that can be."""
        configured = self._configured.get((username, realm))
        if configured is not None:
            found(configured)
            return
        cache = self._caches.get(realm)
        if cache is None:
            found(_NOBODY)
            return
        try:
            userhash = user_hash(username, realm)
        except MisuseError:
            # A name that OpaqueString forbids is nobody's.
            found(_NOBODY)
            return
        cache.find(userhash, lambda answer: found(_read(answer)))

    def _count(self, summary: Summary) -> None:
        self.lacking[Algorithm.SHA_512_256] += summary.without_sha512_256
        self.lacking[Algorithm.SHA_256] += summary.without_sha256
        self.lacking[Algorithm.MD5] += summary.without_md5

    async def aclose(self) -> None:
        """Let go of the store."""
        for cache in self._caches.values():
            await cache.aclose()
        if self._stored is not None:
            await self._stored.store.aclose()


def _read(answer: Answer) -> Secrets | Failure:
    if isinstance(answer, StoreFailure):
        return Failure(str(answer))
    return secrets_of(answer) if answer is not None else _NOBODY
