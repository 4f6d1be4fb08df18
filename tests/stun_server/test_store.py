"""A running server and the commands that change its store, as two processes."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from natkit.aio.turn import allocate
from natkit.errors import ConfigError, Unauthenticated
from stun_server.config import Config
from stun_server.shell.serving import start
from stun_server.shell.state import ephemeral_keys
from tests.stun_server.place import ALLOW_HERE
from tests.stun_server.process import StunServerProcess, stun_server

COMMAND = "import sys; from stun_server.cli import run; sys.exit(run())"
LIMIT = 30.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "stun.toml"
    path.write_text(f'data_dir = "{tmp_path / "state"}"\n[users]\ncache_fresh = 1\n')
    return path


@pytest.fixture
def server(tmp_path: Path, config: Path) -> Iterator[StunServerProcess]:
    with stun_server(tmp_path, "--config", str(config), *ALLOW_HERE) as running:
        yield running


def change(config: Path, *arguments: str, typed: str = "") -> str:
    """Run a command of stun-server to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments, "--config", str(config)],
        input=typed,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def may_allocate(server: StunServerProcess, username: str, password: str) -> bool:
    async def attempt() -> bool:
        uri = f"turn:{server.address}?transport=udp"
        try:
            async with allocate(uri, username=username, password=password):
                return True
        except Unauthenticated:
            return False

    return asyncio.run(attempt())


def test_users_are_added_changed_and_removed_while_the_server_runs(
    server: StunServerProcess, config: Path
) -> None:
    assert not may_allocate(server, "ann", "secret")
    change(config, "user", "add", "ann", typed="secret\n")
    server.wait_until(lambda: may_allocate(server, "ann", "secret"))
    change(config, "user", "add", "ann", typed="changed\n")
    server.wait_until(lambda: may_allocate(server, "ann", "changed"))
    assert not may_allocate(server, "ann", "secret")
    change(config, "user", "remove", "ann")
    server.wait_until(lambda: not may_allocate(server, "ann", "changed"))


def test_secrets_are_rotated_while_the_server_runs(tmp_path: Path, config: Path) -> None:
    change(config, "secret", "add")
    with stun_server(tmp_path, "--config", str(config), *ALLOW_HERE) as server:

        def made() -> tuple[str, str]:
            shown = json.loads(change(config, "credentials", "ann", "--json"))
            return shown["username"], shown["password"]

        old = made()
        assert may_allocate(server, *old)
        opened = server.lines("allocation opened")
        assert [line["user"] for line in opened] == ["ann"]
        (old_secret,) = change(config, "secret", "list").split()
        change(config, "secret", "add")
        new = made()
        server.wait_until(lambda: may_allocate(server, *new))
        assert may_allocate(server, *old)
        change(config, "secret", "remove", old_secret)
        server.wait_until(lambda: not may_allocate(server, *old))
        assert may_allocate(server, *new)


def test_the_log_holds_no_password_key_or_secret(tmp_path: Path, config: Path) -> None:
    secret = change(config, "secret", "add").strip()
    with stun_server(tmp_path, "--config", str(config), *ALLOW_HERE) as server:
        shown = json.loads(change(config, "credentials", "ann", "--json"))
        assert may_allocate(server, shown["username"], shown["password"])
        assert not may_allocate(server, shown["username"], "hunter2")
        for hidden in (secret, shown["password"], "hunter2"):
            assert hidden not in server.log


async def test_a_server_that_cannot_start_lets_go_of_its_store(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config.model_validate(
            {"listeners": {"listen": [f"tcp:127.0.0.1:{taken.getsockname()[1]}"]}}
        )
        with pytest.raises(ConfigError):
            await start(config, ephemeral_keys(), structlog.get_logger(), tmp_path)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [each for each in threading.enumerate() if "natkit-sqlite" in each.name]
