"""From what a configuration says to a place for the bindings."""

import sys
from pathlib import Path

import pytest

from natkit.errors import ConfigError
from sip_proxy.shell.stores import MemoryLocation, SqliteLocation, location_at


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("memory", "memory"),
        ("sqlite", "data/bindings.sqlite3"),
        ("sqlite:/srv/bindings", "/srv/bindings"),
        ("postgresql://ann:hunter2@db/natkit", "postgresql://ann:***@db/natkit"),
        ("postgresql://ann:hunter2@db/natkit?sslmode=require", "postgresql://ann:***@db/natkit"),
        ("redis://ann:hunter2@db:63/1", "redis://db:63/1"),
        ("rediss://:hunter2@db", "rediss://db"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
async def test_a_place_says_where_it_is_without_its_password(url: str, name: str) -> None:
    location = location_at(url, Path("data"), lambda: 0.0)
    assert location.name.partition("?")[0] == name
    await location.aclose()


async def test_without_a_directory_bindings_are_in_memory() -> None:
    assert isinstance(location_at("sqlite", None, lambda: 0.0), MemoryLocation)
    elsewhere = location_at("sqlite:/srv/bindings", None, lambda: 0.0)
    assert isinstance(elsewhere, SqliteLocation)
    await elsewhere.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "memory:",
        "sqlite:",
        "sqlite://hunter2",
        "mysql://ann:hunter2@db/x",
        "postgresql",
        "postgresql:hunter2",
        "postgresql://ann:hunter2@db",
        "redis://ann:hunter2@db:port",
    ],
)
def test_another_text_is_a_mistake_and_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        location_at(url, Path("data"), lambda: 0.0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "driver", "package"),
    [
        ("postgresql://db/x", "asyncpg", "postgresql"),
        ("redis://db", "redis.asyncio", "redis"),
    ],
)
def test_a_missing_driver_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, url: str, driver: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    for name in (
        f"natkit.server.stores.{package}_connection",
        f"sip_proxy.shell.stores.{package}",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ConfigError, match=rf"natkit\[{package}\]"):
        location_at(url, Path("data"), lambda: 0.0)
