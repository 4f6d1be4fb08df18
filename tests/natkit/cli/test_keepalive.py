"""``natkit keepalive`` against servers on loopback."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from natkit.address import Address
from natkit.aio.tls import server_context
from natkit.keepalive import PING, PONG
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from tests.certificates import Authority, Issued
from tests.natkit.aio.running_server import responder, running_server
from tests.natkit.cli.command import Ended, natkit

QUICK = ("--interval", "0.2", "--for", "1.5")


def lines(ended: Ended) -> list[dict[str, object]]:
    """The objects of ``--json``."""
    found = [cast("dict[str, object]", json.loads(line)) for line in ended.output.splitlines()]
    assert all(each["schema"] == 1 and isinstance(each["time"], float | int) for each in found)
    return found


@contextlib.asynccontextmanager
async def edge(certificate: Issued | None = None, *, pongs: int = 1000) -> AsyncIterator[Address]:
    """A SIP server that answers so many pings, and hangs up at the next."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for _ in range(pongs):
                assert await reader.readexactly(len(PING)) == PING
                writer.write(PONG)
            await reader.readexactly(len(PING))
        writer.close()

    context = None if certificate is None else server_context(certificate.files)
    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=context)
    async with server:
        yield Address(*server.sockets[0].getsockname()[:2])


@contextlib.asynccontextmanager
async def websocket_edge() -> AsyncIterator[tuple[Address, list[str]]]:
    """One that answers pings, and the resources that it was asked for."""
    asked: list[str] = []

    async def on_connection(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        await connection.wait_closed()

    async with serve(on_connection, "127.0.0.1", 0, subprotocols=[Subprotocol("sip")]) as server:
        yield Address(*next(iter(server.sockets)).getsockname()[:2]), asked


async def test_a_udp_flow_is_shown_alive_until_the_time_is_over() -> None:
    async with running_server() as server:
        ended = await natkit("keepalive", str(server.address), *QUICK)
    assert (ended.status, ended.errors) == (0, "")
    title, *alive, tally = ended.output.splitlines()
    assert title.startswith(f"{server.address} over UDP from 127.0.0.1:")
    assert "kept open by STUN every 0.2 s at least" in title
    assert alive
    assert all("alive" in line and "seen as 127.0.0.1:" in line for line in alive)
    assert f"{len(alive)} answer" in tally
    assert "no address change" in tally


async def test_json_is_one_object_a_line() -> None:
    async with running_server("::1") as server:
        ended = await natkit("keepalive", f"stun:{server.address}", *QUICK, "--json")
    assert ended.status == 0
    opened, *alive, last = lines(ended)
    assert list(opened)[2:] == ["event", "server", "local_address", "technique", "interval"]
    assert (opened["event"], opened["technique"], opened["interval"]) == ("open", "stun", 0.2)
    assert all(each["event"] == "alive" for each in alive)
    assert all(each["mapped_address"] == opened["local_address"] for each in alive)
    assert (last["event"], last["answers"], last["address_changes"]) == ("ended", len(alive), 0)


async def test_a_sip_server_is_kept_by_crlf_over_tcp() -> None:
    async with edge() as server:
        ended = await natkit("keepalive", f"sip:{server};transport=tcp", *QUICK, "--json")
    assert ended.status == 0
    opened, *alive, _ = lines(ended)
    assert opened["technique"] == "crlf"
    assert alive
    assert all(each["mapped_address"] is None for each in alive)


async def test_a_sip_server_is_kept_by_crlf_over_tls(tmp_path: Path) -> None:
    root = Authority(tmp_path)
    async with edge(root.issue("127.0.0.1")) as server:
        uri = f"sips:{server};transport=tcp"
        ended = await natkit("keepalive", uri, *QUICK, "--ca-file", str(root.file))
        assert ended.status == 0, ended.errors
        assert f"{server} over TLS" in ended.output
        distrusted = await natkit("keepalive", uri, *QUICK)
    assert distrusted.status == 1
    assert "not trusted" in distrusted.error


async def test_a_websocket_is_kept_by_pings_at_its_resource() -> None:
    async with websocket_edge() as (server, asked):
        ended = await natkit("keepalive", f"ws://{server}/sip?a=1", *QUICK)
    assert ended.status == 0, ended.errors
    assert "kept open by pings" in ended.output
    assert " alive " in ended.output
    assert asked == ["/sip?a=1"]


async def test_a_flow_that_fails_is_a_fault() -> None:
    async with edge(pongs=1) as server:
        ended = await natkit("keepalive", f"sip:{server};transport=tcp", "--interval", "0.2")
    assert ended.status == 1
    assert "the connection was closed" in ended.error
    assert "failed: the connection was closed" in ended.output
    assert ended.output.splitlines()[-1].startswith("1 answer, ")


async def test_another_address_is_told_and_is_a_fault() -> None:
    ports = iter(range(4000, 5000))
    async with responder(
        lambda data: (
            Message.parse(data)
            .success(XorMappedAddress(Address("198.51.100.7", next(ports))))
            .encode()
        )
    ) as nat:
        ended = await natkit("keepalive", str(nat), *QUICK)
        told = await natkit("keepalive", str(nat), *QUICK, "--json")
    assert (ended.status, ended.errors) == (1, "")
    assert "the address changed from 198.51.100.7:4000 to 198.51.100.7:4001" in ended.output
    changes = [each for each in lines(told) if each["event"] == "address_changed"]
    first = cast("dict[str, dict[str, object]]", changes[0])
    assert first["before"]["address"] == first["after"]["address"] == "198.51.100.7"
    assert first["before"]["port"] != first["after"]["port"]


async def test_nobody_there_could_not_be_tested() -> None:
    async with responder(lambda _: None) as silent:
        ended = await natkit("keepalive", str(silent), "--timeout", "0.3")
    assert ended.status == 3
    assert "no answer from" in ended.error
    sock = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    gone = Address(*sock.sockets[0].getsockname())
    sock.close()
    await sock.wait_closed()
    ended = await natkit("keepalive", f"sip:{gone};transport=tcp")
    assert ended.status == 3
    assert str(gone) in ended.error


async def test_ctrl_c_ends_it_with_the_tally() -> None:
    async with running_server() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "natkit.cli.main"),
            *("keepalive", str(server.address)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        while b" alive " not in (line := await process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        output, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"")
    assert output.startswith(b"1 answer, no address change")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stuns:example.org",), "stuns: server keeps no flow"),
        (("ws://",), "no WebSocket URL"),
        (("wss://[::1",), "no WebSocket URL"),
        (("ws://a:b@example.org/",), "no WebSocket URL"),
        (("ws://example.org:99999/",), "no WebSocket URL"),
        (("turn:127.0.0.1",), "TURN server"),
        (("sip:",), "neither a host name nor an IP address"),
        (("127.0.0.1", "--interval", "0"), "--interval"),
        (("127.0.0.1", "--for", "0"), "--for"),
        (("127.0.0.1", "--shortest", "5"), "--measure only"),
        (("127.0.0.1", "--measure", "--interval", "5"), "exclude each other"),
        (("127.0.0.1", "--measure", "--shortest", "5", "--longest", "5"), "--longest 5"),
        (("sip:127.0.0.1;transport=tcp", "--measure"), "over TCP"),
    ],
)
async def test_wrong_use_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    ended = await natkit("keepalive", *arguments)
    assert ended.status == 2
    assert words in ended.error


async def test_a_server_that_answers_to_no_other_port_cannot_measure() -> None:
    async with responder(
        lambda data: (
            Message.parse(data).success(XorMappedAddress(Address("198.51.100.7", 4000))).encode()
        )
    ) as plain:
        short = ("--shortest", "0.5", "--longest", "1")
        ended = await natkit("keepalive", str(plain), "--measure", *short)
    assert ended.status == 3
    assert "RESPONSE-PORT" in ended.error


async def test_on_a_terminal_every_event_has_a_line_of_its_own_above_the_status() -> None:
    async with running_server() as server:
        ours, theirs = os.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "natkit.cli.main"),
            *("keepalive", str(server.address), *QUICK),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            env={"TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(theirs)
        shown = await asyncio.to_thread(_read_all, ours)
        assert await process.wait() == 0
    os.close(ours)
    # Each line begins where the status was erased, and ends before it is drawn anew.
    alive = re.findall(r"(?:\r\x1b\[2K|\n)(\d\d:\d\d:\d\d  alive [^\r\n]*)\r\n", shown)
    assert len(alive) == shown.count("  alive ") > 0
    assert "on average" in shown


def _read_all(terminal: int) -> str:
    read = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while piece := os.read(terminal, 4096):
            read += piece
    return read.decode()
