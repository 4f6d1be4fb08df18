"""From what a configuration says to a store."""

import sys
from pathlib import Path

import pytest

from natkit.errors import ConfigError
from natkit.server.stores.opening import DATABASE, store_at


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite", f"data/{DATABASE}"),
        ("sqlite:/srv/users", "/srv/users"),
        ("postgresql://ann:hunter2@db/natkit", "postgresql://ann:***@db/natkit"),
        ("mysql://ann:hunter2@db:33/natkit", "mysql://ann:***@db:33/natkit"),
        ("mariadb://ann:hunter2@db/natkit", "mysql://ann:***@db/natkit"),
        ("redis://ann:hunter2@db:63/1", "redis://db:63/1"),
        ("rediss://:hunter2@db", "rediss://db"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
async def test_a_store_says_where_it_is_without_its_password(url: str, name: str) -> None:
    store = store_at(url, Path("data"))
    assert store is not None
    assert store.name == name
    await store.aclose()


def test_there_may_be_no_store() -> None:
    assert store_at("none", Path("data")) is None
    assert store_at("sqlite", None) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "none:",
        "sqlite:",
        "sqlite://hunter2",
        "oracle://ann:hunter2@db/x",
        "postgresql",
        "postgresql:hunter2",
        "postgresql://ann:hunter2@db",
        "postgresql+psycopg://ann:hunter2@db/x",
        "mysql://ann:hunter2@db:port/x",
        "redis://ann:hunter2@db:port",
    ],
)
def test_another_text_is_a_mistake_and_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        store_at(url, Path("data"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver", "package"),
    [
        ("postgresql://db/x", "asyncpg", "postgresql"),
        ("mariadb://db/x", "aiomysql", "mysql"),
        ("redis://db", "redis.asyncio", "redis"),
    ],
)
def test_a_missing_driver_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, url: str, driver: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    for name in ("redis", "redis_connection"):
        monkeypatch.delitem(sys.modules, f"natkit.server.stores.{name}", raising=False)
    with pytest.raises(ConfigError, match=rf"natkit\[{package}\]"):
        store_at(url, None)
