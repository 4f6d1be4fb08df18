"""Where servers keep their users and secrets: in memory, SQLite, PostgreSQL, MySQL, MariaDB, Redis.

:class:`~natkit.server.stores.store.Store` is what each of them offers, and
:func:`~natkit.server.stores.opening.store_at` finds the one that a configuration names.  Between a
store and a server stands :class:`~natkit.server.stores.cache.UserCache`, which keeps a store that
is slow or down from being felt.
"""

__all__: list[str] = []
