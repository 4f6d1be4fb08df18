"""The socket of an operator: who may open it, what it answers, and what it withstands."""

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from natkit.errors import ConfigError, MisuseError, UnreachableError
from natkit.server.admin_socket import LONGEST_REQUEST, MOST_CONNECTIONS, AdminSocket, ask


async def echo(arguments: Mapping[str, object]) -> object:
    return arguments.get("text")


async def refuse(_: Mapping[str, object]) -> object:
    raise MisuseError("not today")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Path]:
    server = await AdminSocket.open(path, {"echo": echo, "refuse": refuse})
    try:
        yield path
    finally:
        await server.aclose()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def exchange(path: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    if not data.endswith(b"\n"):
        writer.write_eof()
    try:
        return await reader.readline()
    finally:
        writer.close()


async def test_a_command_gets_its_arguments_and_its_result_comes_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as path:
        assert await ask(path, "echo", text={"deep": [1, None, "é"]}) == {"deep": [1, None, "é"]}


async def test_an_answer_may_be_long(tmp_path: Path) -> None:
    async def much(_: Mapping[str, object]) -> object:
        return "x" * 1_000_000

    server = await AdminSocket.open(tmp_path / "s", {"much": much})
    try:
        assert await ask(tmp_path / "s", "much") == "x" * 1_000_000
    finally:
        await server.aclose()


async def test_what_is_refused_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as path:
        with pytest.raises(MisuseError, match="not today"):
            await ask(path, "refuse")
        with pytest.raises(MisuseError, match="there is no command 'dance'"):
            await ask(path, "dance")


@pytest.mark.parametrize(
    "data", [b"\n", b"[]\n", b"{\n", b'{"command": 7}\n', b'{"command": null}\n', b"\xff\xfe\n"]
)
async def test_what_is_no_request_is_answered_with_an_error(tmp_path: Path, data: bytes) -> None:
    async with opened(tmp_path / "s") as path:
        assert "error" in json.loads(await exchange(path, data))
        assert await ask(path, "echo", text="alive") == "alive"


@pytest.mark.parametrize(
    "data", [b"", b'{"command": "echo"}', b"x" * (LONGEST_REQUEST + 2) + b"\n"]
)
async def test_what_ends_early_or_never_is_cut_off(tmp_path: Path, data: bytes) -> None:
    async with opened(tmp_path / "s") as path:
        try:
            assert await exchange(path, data) == b""
        except ConnectionResetError:
            # What it did not read is still on the way.
            pass
        assert await ask(path, "echo", text="alive") == "alive"


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as path:
        held = [await asyncio.open_unix_connection(str(path)) for _ in range(MOST_CONNECTIONS)]
        # Each is served before the next one is turned away.
        for _, writer in held:
            writer.write(b'{"command": "echo"}\n')
        for reader, _ in held:
            await reader.readline()
        with pytest.raises(UnreachableError):
            await ask(path, "echo")
        for _, writer in held:
            writer.close()


async def test_only_its_owner_may_open_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nothing_is_left_of_it_at_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as path:
        assert path.is_socket()
    assert not path.exists()
    with pytest.raises(UnreachableError, match="no server runs with the data directory"):
        await ask(path, "echo")


async def test_what_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(UnreachableError):
        await ask(path, "echo")
    async with opened(path):
        assert await ask(path, "echo", text="new") == "new"


async def test_a_live_servers_socket_is_left_to_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "s") as path:
        with pytest.raises(ConfigError, match=str(path)):
            await AdminSocket.open(path, {})
        assert await ask(path, "echo", text="first") == "first"


async def test_a_file_that_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ConfigError):
        await AdminSocket.open(path, {})
    assert path.read_text() == "precious"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux")
async def test_its_directory_may_have_a_long_name(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    before = descriptors()
    async with opened(deep / "s") as path:
        assert await ask(path, "echo", text="far") == "far"
    assert descriptors() == before
