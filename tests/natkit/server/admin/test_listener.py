"""The listener: it serves as many as it may, and ends."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from natkit.address import Address
from natkit.errors import ConfigError
from natkit.server.admin import listener as module
from natkit.server.admin.listener import HttpListener

LIMIT = 20.0
ANYWHERE = Address("127.0.0.1", 0)


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def listening() -> AsyncIterator[Address]:
    application = web.Application()
    application.router.add_get("/", hello)
    listener = await HttpListener.open(application, ANYWHERE, option="--admin")
    try:
        yield listener.address
    finally:
        await listener.aclose()


async def get(address: Address) -> str:
    async with ClientSession() as session, session.get(f"http://{address}/") as answer:
        return await answer.text()


async def test_it_serves() -> None:
    async with listening() as address:
        assert await get(address) == "hello"
    with socket.socket() as probe:
        assert probe.connect_ex(address) != 0


async def test_a_busy_port_is_named_with_its_option() -> None:
    async with listening() as address:
        with pytest.raises(ConfigError, match=rf"--admin: .*{address.port}"):
            await HttpListener.open(web.Application(), address, option="--admin")


async def test_connections_are_bounded_by_source_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_PER_SOURCE", 3)
    async with listening() as address, asyncio.timeout(LIMIT):
        async with AsyncExitStack() as silent:
            writers = []
            for _ in range(3):
                _, writer = await asyncio.open_connection(*address)
                writers.append(writer)
                silent.callback(writer.close)
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.read() == b""
            writer.close()
        for each in writers:
            await each.wait_closed()
        while True:
            try:
                assert await get(address) == "hello"
            except OSError:
                continue
            break


async def test_who_says_nothing_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIFETIME", 0.05)
    monkeypatch.setattr(module, "REQUEST_LIMIT", 0.05)
    async with listening() as address, asyncio.timeout(LIMIT):
        for said in (b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(said)
            await reader.read()
            assert reader.at_eof()
            writer.close()
