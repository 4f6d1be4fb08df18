"""Who may allocate: the users of the configuration, time-limited credentials, and the store."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from natkit.errors import ConfigError, MisuseError, StoreFailure
from natkit.machine import Failure
from natkit.server.log import Logger
from natkit.server.stores.cache import Answer, CacheTimes, UserCache
from natkit.server.stores.condition import Condition
from natkit.server.stores.opening import store_at
from natkit.server.stores.secrets import SecretWatch
from natkit.server.stores.static import StaticStore
from natkit.server.stores.store import Store, Summary, UserKeys
from natkit.stun.credentials import opaque_string, user_hash
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.turn.credentials import Digest, TimeLimitedName, time_limited_password
from stun_server.authentication import Credential
from stun_server.config import ReadyKeys
from stun_server.config import Users as UserTable
from stun_server.events import FindCredential

__all__ = ["Found", "Offer", "Signing", "Users", "check", "configured_users"]

UNKNOWN_LIMIT = 5.0
"""Seconds for which a name may be taken not to exist, however long a user's keys count."""

Found = Credential | Failure | None
"""What answers FindCredential."""

_NAMES = {PasswordAlgorithmNumber.SHA_256: "sha-256", PasswordAlgorithmNumber.MD5: "md5"}


class Signing(NamedTuple):
    """The secrets that count, the newest first, and the digest of the HMAC by them."""

    secrets: Sequence[str]
    digest: Digest


@dataclass(frozen=True, slots=True)
class Offer:
    """What clients are offered, given what is known of every user (RFC 8489 §9.2.1)."""

    password_algorithms: tuple[PasswordAlgorithmNumber, ...]
    username_anonymity: bool


def configured_users(realm: str, passwords: Mapping[str, str | ReadyKeys]) -> list[UserKeys]:
    """The users of a configuration as keys; ConfigError for a name that no client can send."""
    users = []
    for name, password in passwords.items():
        try:
            if isinstance(password, str):
                users.append(UserKeys.derive(name, realm, password))
            else:
                users.append(UserKeys(opaque_string(name), password.md5, password.sha256))
        except MisuseError as error:
            raise ConfigError(f"user {name!r}: {error}") from error
    return users


def check(table: UserTable) -> None:
    """Find what is wrong with a configuration's users without opening their store.

    ConfigError for a name that no client can send, and for a store that cannot be had here.
    """
    configured_users(table.realm, table.passwords)
    store_at(table.store, None)


class Users:
    """Finds credentials for the machine; made by :meth:`open`."""

    def __init__(
        self, table: UserTable, store: Store | None, logger: Logger, clock: Callable[[], float]
    ) -> None:
        self._realm = table.realm
        self._digest = table.secret_digest
        self._takes_tokens = bool(table.oauth_keys)
        configured = configured_users(table.realm, table.passwords)
        self._static = StaticStore(table.realm, configured)
        # By name too, which is how most clients ask: no hash, and no credential made anew.
        self._by_name = {
            user.username: Credential(user.username, user.md5, user.sha256, realm=table.realm)
            for user in configured
        }
        self._store = store
        self._logger = logger
        self._condition = Condition(self._on_change)
        times = CacheTimes(
            float(table.cache_fresh),
            float(table.cache_lifetime),
            min(float(table.cache_fresh), UNKNOWN_LIMIT),
        )
        self._cache: UserCache | None = None
        if store is not None:
            self._cache = UserCache(
                store, table.realm, times=times, condition=self._condition, clock=clock
            )
        self._secrets = SecretWatch(
            table.secrets,
            store,
            table.realm,
            times=times,
            condition=self._condition,
            clock=clock,
        )
        self._total = 0
        self._wanted = Offer(table.password_algorithms, table.username_anonymity)
        self._offer = self._wanted
        self._told: set[str] = set()

    @classmethod
    async def open(
        cls,
        table: UserTable,
        data_dir: Path | None,
        logger: Logger,
        clock: Callable[[], float],
    ) -> Self:
        """Open the store, and find out what clients can be offered.

        A store that is down is no reason not to start.  ConfigError for a mistake.
        """
        store = store_at(table.store, data_dir)
        users = cls(table, store, logger, clock)
        try:
            await users._start()
        except BaseException:
            await users.aclose()
            raise
        return users

    @property
    def offer(self) -> Offer:
        """What clients are offered until :meth:`consider` finds that another offer is due."""
        return self._offer

    @property
    def signing(self) -> Signing:
        """What time-limited credentials are made with now."""
        return Signing(self._secrets.current, self._digest)

    @property
    def store_name(self) -> str:
        """Where the store is."""
        return self._store.name if self._store is not None else "none"

    @property
    def store_failure(self) -> str | None:
        """Why the store is down, if it is."""
        return str(self._condition.failure) if self._condition.failure is not None else None

    @property
    def is_nobody(self) -> bool:
        """Whether nobody was known at the start."""
        return not (
            self._total or self._secrets.current or self._takes_tokens or self._condition.failure
        )

    def counts(self) -> Counter[str]:
        """What happened with the store, by name."""
        return self._condition.counts.copy()

    def __len__(self) -> int:
        """How many there were at the start."""
        return self._total

    def at_hand(self, username: str) -> Credential | None:
        """A user of the configuration, whom no store need be asked about."""
        return self._by_name.get(username)

    def find(self, request: FindCredential, answer: Callable[[Found], None]) -> None:
        """Call ``answer`` with whom a request is from: at once if that can be, else later."""
        userhash = request.userhash
        try:
            if request.username is not None:
                userhash = user_hash(request.username, self._realm)
        except MisuseError:
            # A name that OpaqueString forbids is nobody's.
            userhash = None
        if userhash is None:
            answer(None)
            return
        known = self._static.get(self._realm, userhash)
        if known is None and request.username is not None and self._secrets.current:
            limited = TimeLimitedName.parse(request.username)
            if limited is not None:
                answer(self._time_limited(request.username, limited, self._secrets.current))
                return
        if known is not None or self._cache is None:
            answer(self._found(known))
        else:
            self._cache.find(userhash, lambda found: answer(self._found(found)))

    async def aclose(self) -> None:
        """Let go of the store."""
        await self._secrets.aclose()
        if self._cache is not None:
            await self._cache.aclose()
        if self._store is not None:
            await self._store.aclose()

    async def _start(self) -> None:
        summaries = [self._static.summarize(self._realm)]
        if self._store is not None:
            try:
                await self._store.open()
                summaries.append(await self._store.summary(self._realm))
            except StoreFailure as failure:
                self._condition.failed(failure)
        await self._secrets.start()
        self._total = sum(each.users for each in summaries)
        self._decide(summaries)

    async def consider(self) -> None:
        """Decide again what clients are offered; while the store is down that stays as it is."""
        summaries = [self._static.summarize(self._realm)]
        if self._store is not None:
            try:
                summaries.append(await self._store.summary(self._realm))
            except StoreFailure as failure:
                self._condition.failed(failure)
                return
        self._total = sum(each.users for each in summaries)
        self._told.clear()
        self._decide(summaries)

    def _decide(self, summaries: list[Summary]) -> None:
        """Offer only what every user's keys serve, and USERHASH only where users are listed."""
        lacking = {
            PasswordAlgorithmNumber.MD5: sum(each.without_md5 for each in summaries),
            PasswordAlgorithmNumber.SHA_256: sum(each.without_sha256 for each in summaries),
        }
        for number in self._wanted.password_algorithms:
            if lacking[number]:
                self._logger.warning(
                    "password algorithm not offered",
                    algorithm=_NAMES[number],
                    users_without_key=lacking[number],
                )
        offered = tuple(each for each in self._wanted.password_algorithms if not lacking[each])
        # Whose names follow from a secret, or are those of a token's key, are not found by a hash.
        named = self._secrets.current or self._takes_tokens
        anonymity = self._wanted.username_anonymity and not named
        self._offer = Offer(offered, anonymity)

    def _time_limited(
        self, username: str, limited: TimeLimitedName, secrets: tuple[str, ...]
    ) -> Credential:
        if self._offer.username_anonymity:
            self._tell_once(
                "time-limited credentials since the start",
                to_do="reload, so that USERHASH is offered no more: it cannot name them",
            )
        first, *others = [self._derive(username, limited, secret) for secret in secrets]
        return replace(first, alternatives=tuple(others)) if others else first

    def _derive(self, username: str, limited: TimeLimitedName, secret: str) -> Credential:
        password = time_limited_password(secret, username, self._digest)
        keys = UserKeys.derive(username, self._realm, password)
        return Credential(
            limited.name or username,
            keys.md5,
            keys.sha256,
            sent_as=username,
            expires=float(limited.expires),
            realm=self._realm,
        )

    def _found(self, answer: Answer) -> Found:
        if answer is None:
            return None
        if isinstance(answer, StoreFailure):
            return Failure(str(answer))
        credential = Credential(answer.username, answer.md5, answer.sha256, realm=self._realm)
        for number in self._offer.password_algorithms:
            if credential.key(number) is None:
                self._tell_once(
                    f"a user without a key for {_NAMES[number]}",
                    user=answer.username,
                    to_do="reload, so that it is offered no more, or give the user a password",
                )
        return credential

    def _tell_once(self, what: str, **fields: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._logger.warning(what, **fields)

    def _on_change(self, failure: StoreFailure | None) -> None:
        if failure is not None:
            self._logger.error("store down", reason=str(failure))
        else:
            self._logger.info("store back", store=self.store_name)
