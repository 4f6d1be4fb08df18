"""``natkit stun`` against servers on loopback."""

import socket

import pytest

from natkit.address import Address
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from tests.natkit.aio.running_server import responder, running_server
from tests.natkit.cli.command import natkit


@pytest.mark.parametrize("option", [(), ("--tcp",)], ids=["udp", "tcp"])
async def test_it_shows_our_address(option: tuple[str, ...]) -> None:
    async with running_server() as server:
        ended = await natkit("stun", str(server.address), *option)
    assert (ended.status, ended.errors) == (0, "")
    title, mapped, local, translation, round_trip = ended.output.splitlines()
    assert title == f"{server.address} over {'TCP' if option else 'UDP'} answers"
    assert mapped.split()[:2] == ["mapped", "address"]
    assert mapped.split()[2] == local.split()[2]
    assert translation.split() == ["translation", "none"]
    assert round_trip.split()[-1] == "ms"
    assert mapped.index("127.0.0.1") == translation.index("none") == local.index("127.0.0.1")


async def test_json_has_the_documented_members() -> None:
    async with running_server("::1") as server:
        ended = await natkit("stun", f"stun:{server.address}", "--json")
    assert ended.status == 0
    result = ended.result
    assert list(result) == [
        "schema",
        "server",
        "mapped_address",
        "local_address",
        "translated",
        "round_trip",
    ]
    assert result["server"] == {
        "transport": "udp",
        "address": "::1",
        "port": server.address.port,
        "host": "::1",
    }
    assert result["mapped_address"] == result["local_address"]
    assert result["translated"] is False


@pytest.mark.parametrize("host", ["198.51.100.7", "fd00::7"])
async def test_a_translated_address_is_said_to_be(host: str) -> None:
    elsewhere = Address(host, 4000)
    async with responder(
        lambda data: Message.parse(data).success(XorMappedAddress(elsewhere)).encode()
    ) as nat:
        ended = await natkit("stun", str(nat))
    assert ended.status == 0
    assert str(elsewhere) in ended.output
    assert "by a NAT on the way" in ended.output


async def test_silence_could_not_be_tested() -> None:
    async with responder(lambda _: None) as silent:
        ended = await natkit("stun", str(silent), "--timeout", "0.3")
    assert ended.status == 3
    assert f"no answer from {silent}" in ended.error


async def test_garbage_is_no_answer() -> None:
    async with responder(lambda data: data[::-1]) as garbage:
        ended = await natkit("stun", str(garbage), "--timeout", "0.3")
    assert ended.status == 3
    assert "no answer" in ended.error


async def test_a_wrong_answer_is_a_fault() -> None:
    async with responder(lambda data: Message.parse(data).success().encode()) as wrong:
        ended = await natkit("stun", str(wrong))
    assert ended.status == 1
    assert "not as the protocol says" in ended.error


async def test_an_error_response_is_a_fault() -> None:
    async with responder(lambda data: Message.parse(data).error(500).encode()) as failing:
        ended = await natkit("stun", str(failing))
    assert ended.status == 1
    assert "500 Server Error" in ended.error


async def test_a_closed_tcp_port_could_not_be_tested() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    ended = await natkit("stun", str(address), "--tcp")
    assert ended.status == 3
    assert str(address) in ended.error
    assert "connection refused" in ended.error


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("stuns:127.0.0.1",),
        ("stun:127.0.0.1", "--dtls"),
        ("stuns:localhost", "--ca-file", "/no/such/file"),
        ("stuns:localhost", "--ca-file", "roots.pem", "--insecure"),
        ("turn:example.org",),
        ("[::1",),
        ("example.org:99999",),
        ("1.2.3",),
        ("a..b",),
        ("127.0.0.1", "--timeout", "0"),
        ("127.0.0.1", "--no-such-option"),
    ],
    ids=" ".join,
)
async def test_wrong_use_is_one_line_and_status_2(arguments: tuple[str, ...]) -> None:
    ended = await natkit("stun", *arguments)
    assert (ended.status, ended.output) == (2, "")
    assert ended.error


async def test_help_has_an_example() -> None:
    ended = await natkit("stun", "--help")
    assert ended.status == 0
    assert "Example: natkit stun stun.example.org:3478" in ended.output
