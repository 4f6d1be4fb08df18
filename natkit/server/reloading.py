"""What a configuration that was read again changes, and what of that needs a restart."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from pydantic import BaseModel

from natkit.errors import ConfigError, MisuseError
from natkit.server.log import Logger
from natkit.server.reports import Reload

__all__ = ["AtOnce", "Reloading", "changes"]

C = TypeVar("C", bound=BaseModel)

AtOnce = Callable[[str], bool]
"""Whether an option, as ``table.option``, counts when it is read again; else after a restart."""


def changes(old: BaseModel, new: BaseModel, counts_at_once: AtOnce) -> Reload:
    """Name the options with another value, and those of them that count after a restart only."""
    changed = tuple(_differences(old, new))
    return Reload(None, changed, tuple(each for each in changed if not counts_at_once(each)))


def _differences(old: BaseModel, new: BaseModel, table: str = "") -> Iterator[str]:
    for name, option in type(old).model_fields.items():
        before: object = getattr(old, name)
        after: object = getattr(new, name)
        if before == after:
            continue
        called = table + (option.alias or name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differences(before, after, f"{called}.")
        else:
            yield called


class Reloading(Generic[C]):
    """Reloads when asked to, one after the other; ``apply`` is all or nothing.

    ``reread`` gives the configuration as it is written now; without it the one in use is applied
    again, which has its certificate read.
    """

    def __init__(
        self,
        config: C,
        reread: Callable[[], C] | None,
        apply: Callable[[C], Awaitable[None]],
        counts_at_once: AtOnce,
        logger: Logger,
    ) -> None:
        self._config = self._started = config
        self._reread = reread
        self._apply = apply
        self._counts_at_once = counts_at_once
        self._logger = logger
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Reload]] = set()

    def soon(self) -> None:
        """Reload, as a signal asks for."""
        task = asyncio.get_running_loop().create_task(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> Reload:
        """Read and apply; what is wrong with the configuration stands in the report."""
        async with self._lock:
            try:
                config = self._reread() if self._reread is not None else self._config
                await self._apply(config)
            except (ConfigError, MisuseError) as error:
                self._logger.warning("not reloaded", reason=str(error))
                return Reload(str(error))
            # What needs a restart does so until there is one, however often this is asked for.
            waiting = changes(self._started, config, self._counts_at_once).needs_restart
            done = replace(
                changes(self._config, config, self._counts_at_once), needs_restart=waiting
            )
            self._config = config
        self._logger.info("reloaded", changed=list(done.changed))
        if done.needs_restart:
            self._logger.warning("needs a restart", options=list(done.needs_restart))
        return done

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
