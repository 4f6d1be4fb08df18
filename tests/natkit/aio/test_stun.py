"""The Binding face against servers on loopback."""

import socket

import pytest

from natkit.address import Address
from natkit.aio.stun import binding, examine
from natkit.aio.udp import bind_udp
from natkit.errors import (
    BadRequest,
    MalformedMessage,
    MisuseError,
    NoService,
    TransactionTimeout,
    UnreachableError,
)
from natkit.locate import Target
from natkit.machine import Transport
from natkit.stun.attributes import MappedAddress
from natkit.stun.message import Message
from tests.natkit.aio.running_server import responder, running_server

LIMIT = 20.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_a_server_says_where_it_sees_us(tcp: bool) -> None:
    async with running_server() as server:
        found = await examine(server.address, tcp=tcp)
        assert found.mapped == found.local
        assert found.mapped.host == "127.0.0.1"
        assert found.server.address == server.address
        assert found.server.transport is (Transport.TCP if tcp else Transport.UDP)
        assert 0.0 <= found.round_trip < LIMIT


async def test_ipv6_is_spoken() -> None:
    async with running_server("::1") as server:
        assert (await binding(server.address)).host == "::1"
        assert (await binding(f"stun:{server.address}", tcp=True)).host == "::1"


async def test_a_server_may_be_named_in_every_way() -> None:
    async with running_server() as server:
        port = server.address.port
        for name in (f"127.0.0.1:{port}", f"stun:127.0.0.1:{port}", f"STUN:localhost:{port}"):
            assert (await binding(name)).host == "127.0.0.1"


async def test_a_locator_is_asked_for_the_server() -> None:
    asked = []

    class Fixed:
        async def locate(self, uri: str) -> list[Target]:
            asked.append(uri)
            return [Target(Transport.UDP, server.address, "stun.example.org", "example.org")]

    async with running_server() as server:
        found = await examine("example.org", tcp=True, locator=Fixed())
    assert asked == ["stun:example.org"]
    assert found.server.host == "stun.example.org"
    assert found.server.transport is Transport.TCP


async def test_an_address_that_is_silent_does_not_hold_up_the_next() -> None:
    class Two:
        async def locate(self, uri: str) -> list[Target]:
            assert uri == "stun:example.org"
            return [
                Target(Transport.UDP, address, "example.org", "example.org")
                for address in (silent, server.address)
            ]

    async with running_server() as server, responder(lambda _: None) as silent:
        found = await examine("example.org", locator=Two(), timeout=30.0)
    assert found.server.address == server.address


async def test_silence_is_a_timeout() -> None:
    async with responder(lambda _: None) as silent:
        with pytest.raises(TransactionTimeout, match=r"no answer from 127\.0\.0\.1:\d+ within 0.2"):
            await binding(silent, timeout=0.2)


async def test_garbage_counts_as_silence() -> None:
    async with responder(lambda data: data[::-1]) as garbage:
        with pytest.raises(TransactionTimeout):
            await binding(garbage, timeout=0.2)


async def test_an_old_servers_mapped_address_is_understood() -> None:
    address = Address("198.51.100.7", 4000)
    async with responder(
        lambda data: Message.parse(data).success(MappedAddress(address)).encode()
    ) as old:
        assert await binding(old, timeout=LIMIT) == address


async def test_an_error_response_is_raised_by_its_code() -> None:
    async with responder(lambda data: Message.parse(data).error(400).encode()) as refusing:
        with pytest.raises(BadRequest):
            await binding(refusing, timeout=LIMIT)


async def test_an_answer_without_an_address_is_malformed() -> None:
    async with responder(lambda data: Message.parse(data).success().encode()) as empty:
        with pytest.raises(MalformedMessage):
            await binding(empty, timeout=LIMIT)


async def test_a_closed_tcp_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    with pytest.raises(UnreachableError, match="connection refused"):
        await binding(address, tcp=True)


async def test_a_family_without_a_route_is_unreachable() -> None:
    # 240.0.0.0/4 is routed nowhere, and the system says so before anything leaves.
    with pytest.raises(UnreachableError):
        await binding(Address("255.255.255.255", 3478))


async def test_a_name_that_does_not_exist_is_no_service() -> None:
    class Nowhere:
        async def locate(self, uri: str) -> list[Target]:
            raise NoService(uri)

    with pytest.raises(NoService):
        await binding("example.org", locator=Nowhere())


@pytest.mark.parametrize(
    "server",
    [
        "",
        "stuns:127.0.0.1",
        "turn:example.org",
        "turns:example.org",
        "[::1",
        "host:99999",
        "1.2.3",
        "a..b",
    ],
)
async def test_a_wrong_name_is_misuse(server: str) -> None:
    with pytest.raises(MisuseError):
        await binding(server)


async def test_sockets_are_closed_whatever_happens() -> None:
    # Warnings are errors: an unclosed socket would fail this test when it is collected.
    sock = bind_udp(Address("127.0.0.1", 0))
    with sock, pytest.raises(TransactionTimeout):
        await binding(Address(*sock.getsockname()), timeout=0.05)
