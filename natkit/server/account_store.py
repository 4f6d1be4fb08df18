"""The store of users that a command changes: the one that a server with the same options has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from natkit.errors import ConfigError, MisuseError
from natkit.server.stores.opening import store_at
from natkit.server.stores.store import Store
from natkit.stun.credentials import opaque_string

__all__ = ["AccountStore", "prepared_name"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AccountStore:
    """The store ``url`` and the realm in it that is meant.

    ``configured`` are the users of the realm who stand in the configuration itself.
    """

    realm: str
    url: str
    data_dir: Path
    configured: frozenset[str]

    def run(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Do something with the store; ConfigError when there is none."""

        async def main() -> T:
            async with self.opened() as store:
                if store is None:
                    raise ConfigError("users.store: the configuration says that there is no store")
                return await work(store)

        return asyncio.run(main())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store | None]:
        """The store, while it is open; None when there is none."""
        store = store_at(self.url, self.data_dir)
        try:
            if store is not None:
                await store.open()
            yield store
        finally:
            if store is not None:
                await store.aclose()

    def refuse_configured(self, name: str, config: Path | None) -> None:
        """ConfigError for a user who stands in the file ``config``: it counts before the store."""
        if name in self.configured:
            raise ConfigError(
                f"user {name!r}: stands in {config}, and what stands there counts first"
            )


def prepared_name(name: str) -> str:
    """A username as stores have it (RFC 8265 §4.2); ConfigError for what is none."""
    try:
        return opaque_string(name)
    except MisuseError as error:
        raise ConfigError(f"user {name!r}: {error}") from error
