"""Has tests that start a server of their own run before those that share one.

Two servers cannot both run XDP on one interface.  A plugin of pytest's.
"""

import pytest

SHARED = frozenset({"server", "matrix"})
"""Fixtures that hold a server for a whole module."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Within each module; else the order stays."""
    modules = list(dict.fromkeys(item.path for item in items))
    items.sort(key=lambda item: (modules.index(item.path), _shares(item)))


def _shares(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and not SHARED.isdisjoint(item.fixturenames)
