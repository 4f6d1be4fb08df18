"""The users of every realm, as the machine asks for them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from natkit.server.log import Logger
from stun_server.authentication import Credential
from stun_server.config import Config
from stun_server.config import Users as UserTable
from stun_server.events import FindCredential
from stun_server.shell.users import Found, Signing, Users, check

__all__ = ["Directory", "Retirements", "check_users"]


class Directory:
    """The users of each realm; made by :meth:`open`, and by :meth:`reopened` from another one."""

    def __init__(
        self, default: str, users: Mapping[str, Users], tables: Mapping[str, UserTable]
    ) -> None:
        self._default = users[default]
        self._users = users
        self._tables = tables

    @classmethod
    async def open(
        cls, config: Config, data_dir: Path | None, logger: Logger, clock: Callable[[], float]
    ) -> Self:
        """Open the stores; ConfigError for a mistake, and then nothing stays open."""
        return await cls._open(config, data_dir, logger, clock, {}, {})

    async def reopened(
        self, config: Config, data_dir: Path | None, logger: Logger, clock: Callable[[], float]
    ) -> Self:
        """The users of another configuration; where nothing changed they are the same, and go on.

        What is no longer used is closed by :meth:`retire`.
        """
        return await self._open(config, data_dir, logger, clock, self._users, self._tables)

    @classmethod
    async def _open(
        cls,
        config: Config,
        data_dir: Path | None,
        logger: Logger,
        clock: Callable[[], float],
        open_ones: Mapping[str, Users],
        their_tables: Mapping[str, UserTable],
    ) -> Self:
        tables = {name: config.users_of(name) for name in (config.users.realm, *config.realms)}
        users: dict[str, Users] = {}
        try:
            for name, table in tables.items():
                if name in open_ones and their_tables[name] == table:
                    users[name] = open_ones[name]
                    await users[name].consider()
                else:
                    users[name] = await Users.open(table, data_dir, logger, clock)
        except BaseException:
            await _close([each for each in users.values() if each not in open_ones.values()])
            raise
        return cls(config.users.realm, users, tables)

    @property
    def realms(self) -> tuple[str, ...]:
        """The names of the realms, the default one first."""
        return tuple(self._users)

    @property
    def signing(self) -> Signing:
        """What time-limited credentials of the default realm are made with now."""
        return self._default.signing

    @property
    def store_name(self) -> str:
        """Where the default realm's store is."""
        return self._default.store_name

    @property
    def store_failure(self) -> str | None:
        """Why a store is down, if one is."""
        return next(filter(None, (each.store_failure for each in self._users.values())), None)

    @property
    def is_nobody(self) -> bool:
        """Whether nobody was known at the start."""
        return all(each.is_nobody for each in self._users.values())

    def __len__(self) -> int:
        """How many there were at the start."""
        return sum(map(len, self._users.values()))

    def of(self, realm: str) -> Users:
        """The users of a realm; the default one's when there is no such realm any more."""
        return self._users.get(realm, self._default)

    def counts(self) -> Counter[str]:
        """What happened with the stores, by name."""
        return sum((each.counts() for each in self._users.values()), Counter())

    def at_hand(self, realm: str, username: str) -> Credential | None:
        """A user of the configuration, whom no store need be asked about."""
        return self.of(realm).at_hand(username)

    def find(self, request: FindCredential, answer: Callable[[Found], None]) -> None:
        """Call ``answer`` with whom a request is from: at once if that can be, else later."""
        self.of(request.realm).find(request, answer)

    async def retire(self, successor: "Directory") -> None:
        """Let go of the stores that ``successor`` does not use."""
        going_on = list(successor._users.values())  # noqa: SLF001 - of the same class
        await _close([each for each in self._users.values() if each not in going_on])

    async def aclose(self) -> None:
        """Let go of all stores."""
        await _close(list(self._users.values()))


class Retirements:
    """Closes what a reload has no more use for, once all that was asked of it is answered."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waiting: dict[asyncio.Task[None], tuple[Directory, Directory]] = {}

    def begin(self, retired: Directory, successor: Directory) -> None:
        """Close later what ``retired`` has and ``successor`` has not."""

        async def later() -> None:
            await asyncio.sleep(self._patience)
            await retired.retire(successor)

        task = asyncio.get_running_loop().create_task(later())
        self._waiting[task] = (retired, successor)
        task.add_done_callback(lambda done: self._waiting.pop(done, None))

    async def aclose(self) -> None:
        """Close it now."""
        for task, (retired, successor) in tuple(self._waiting.items()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await retired.retire(successor)


def check_users(config: Config) -> None:
    """Find what is wrong with the users of all realms, without opening a store."""
    for name in (config.users.realm, *config.realms):
        check(config.users_of(name))


async def _close(users: list[Users]) -> None:
    await asyncio.gather(*(each.aclose() for each in users))
