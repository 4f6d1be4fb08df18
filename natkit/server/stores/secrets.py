"""The secrets of time-limited credentials, kept in step with a store."""

import asyncio
from collections.abc import Callable, Sequence

from natkit.errors import NatkitError, StoreFailure
from natkit.server.stores.cache import CacheTimes
from natkit.server.stores.condition import Condition
from natkit.server.stores.store import ANSWER_LIMIT, Store

__all__ = ["MAX_SECRETS", "SecretWatch"]

MAX_SECRETS = 8
"""Secrets that count at once, the newest: each costs an HMAC and two keys for a guessed password.
Rotation needs two."""


class SecretWatch:
    """The secrets of a realm: those of a configuration, and those that a store has now.

    The store is asked every ``times.fresh`` seconds, which also finds out that it is back; its
    secrets outlive it by ``times.lifetime``.
    """

    def __init__(
        self,
        configured: Sequence[str],
        store: Store | None,
        realm: str,
        *,
        times: CacheTimes,
        condition: Condition,
        clock: Callable[[], float],
    ) -> None:
        self._configured = tuple(configured)
        self._store = store
        self._realm = realm
        self._times = times
        self._condition = condition
        self._clock = clock
        self._since = clock()
        self._current = self._configured[:MAX_SECRETS]
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> tuple[str, ...]:
        """The secrets that count, those of the configuration first."""
        return self._current

    async def start(self) -> None:
        """Ask once, then from time to time until :meth:`aclose`."""
        if self._store is not None:
            await self._ask(self._store)
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._keep_asking(self._store))

    async def aclose(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_asking(self, store: Store) -> None:
        while True:
            await asyncio.sleep(self._times.fresh)
            await self._ask(store)

    async def _ask(self, store: Store) -> None:
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                found = await store.secrets(self._realm)
        except (NatkitError, TimeoutError) as error:
            why = str(error) or f"{store.name}: no answer in {ANSWER_LIMIT:g} s"
            self._condition.failed(error if isinstance(error, StoreFailure) else StoreFailure(why))
            if self._clock() >= self._since + self._times.lifetime:
                self._current = self._configured[:MAX_SECRETS]
            return
        self._since = self._clock()
        every = dict.fromkeys((*self._configured, *found))
        self._current = tuple(every)[:MAX_SECRETS]
        self._condition.answered()
