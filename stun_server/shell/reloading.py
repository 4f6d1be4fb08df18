"""What a configuration that was read again changes, and what of that needs a restart."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from pydantic import BaseModel

from natkit.errors import ConfigError, MisuseError
from stun_server.administration import Reload
from stun_server.config import Config
from stun_server.shell.log import Logger

__all__ = ["Reloading", "changes", "counts_at_once"]

# What of these tables counts at once; all else of them is decided when the process starts.
_AT_ONCE = {
    "listeners": {
        "certificate",
        "key",
        "relay_ports",
        "relay_ipv4",
        "relay_ipv6",
        "external",
        "external_from",
    },
    "log": {"level"},
}
# Tables and options that count at once as a whole.
_TABLES_AT_ONCE = {"users", "policy", "limits", "realms", "redirects"}


def changes(old: Config, new: Config) -> Reload:
    """Name the options with another value, and those of them that count after a restart only."""
    changed = tuple(_differences(old, new))
    return Reload(None, changed, tuple(each for each in changed if not counts_at_once(each)))


def _differences(old: BaseModel, new: BaseModel, table: str = "") -> Iterator[str]:
    for name, field in type(old).model_fields.items():
        before: object = getattr(old, name)
        after: object = getattr(new, name)
        if before == after:
            continue
        called = table + (field.alias or name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _differences(before, after, f"{called}.")
        else:
            yield called


def counts_at_once(option: str) -> bool:
    """Whether an option, named by table and name, counts when it is read again."""
    table, _, name = option.partition(".")
    return table in _TABLES_AT_ONCE or name in _AT_ONCE.get(table, ())


class Reloading:
    """Reloads when asked to, one after the other; ``apply`` is all or nothing.

    ``reread`` gives the configuration as it is written now; without it the one in use is applied
    again, which has its certificate read.
    """

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config] | None,
        apply: Callable[[Config], Awaitable[None]],
        logger: Logger,
    ) -> None:
        self._config = self._started = config
        self._reread = reread
        self._apply = apply
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
            waiting = changes(self._started, config).needs_restart
            done = replace(changes(self._config, config), needs_restart=waiting)
            self._config = config
        self._logger.info("reloaded", changed=list(done.changed))
        if done.needs_restart:
            self._logger.warning("needs a restart", options=list(done.needs_restart))
        return done

    async def aclose(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
