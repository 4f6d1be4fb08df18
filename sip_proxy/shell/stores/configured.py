"""The users and the bindings that a configuration speaks of, not opened yet."""

import time
from collections.abc import Callable
from pathlib import Path

from natkit.errors import StoreFailure
from natkit.server.stores.cache import CacheTimes
from natkit.server.stores.opening import store_at
from sip_proxy.config import Config
from sip_proxy.shell.stores.location import Location
from sip_proxy.shell.stores.opening import location_at
from sip_proxy.shell.users import Users, UserStore

__all__ = ["configured_location", "configured_users"]

UNKNOWN_LIMIT = 5.0
"""Seconds for which a name may be taken not to exist, however long a user's keys count."""

OnChange = Callable[[StoreFailure | None], None]


def configured_users(
    config: Config, data_dir: Path | None, on_change: OnChange = lambda _: None
) -> Users:
    """The users of the file, and those of ``[users] store``; ConfigError for one not to be had.

    ``on_change`` is told when the store goes down, and by None when it is back.
    """
    options = config.users
    store = store_at(options.store, data_dir)
    stored = None
    if store is not None:
        fresh, lifetime = float(options.cache_fresh), float(options.cache_lifetime)
        times = CacheTimes(fresh, lifetime, min(fresh, UNKNOWN_LIMIT))
        stored = UserStore(store, time.monotonic, times, on_change)
    return Users(config.domains, options.accounts(config.domains), stored)


def configured_location(
    config: Config, data_dir: Path | None, on_change: OnChange = lambda _: None
) -> Location:
    """Where ``[registrations] store`` is; ConfigError for one that is not to be had.

    ``on_change`` is told when a shared store goes down, and by None when it is back.
    """
    options = config.registrations
    return location_at(
        options.store, data_dir, time.monotonic, on_change, largest_count=options.addresses
    )
