"""``natkit turn`` against servers on loopback."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest

from natkit.address import Address
from natkit.stun.attributes import (
    Attribute,
    Lifetime,
    Nonce,
    Realm,
    Username,
    XorMappedAddress,
    XorRelayedAddress,
)
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.aio.running_server import (
    PASSWORD,
    REALM,
    USER,
    refusing,
    responder,
    running_server,
)
from tests.natkit.cli.command import natkit

CREDENTIALS = ("--user", USER, "--password", PASSWORD)
BLACK_HOLE = Address("127.0.0.1", 9)


def granting(permission: int | None, *, allocations: int) -> Callable[[bytes], bytes]:
    """A server that relays nothing: CreatePermission gets this error, or success."""
    key = IntegrityKey(long_term_key(USER, REALM, PASSWORD))
    granted = count(1)

    def respond(data: bytes) -> bytes:
        request = Message.parse(data)
        grant: tuple[Attribute, ...] = (
            XorRelayedAddress(BLACK_HOLE),
            XorMappedAddress(Address("127.0.0.1", 4000)),
            Lifetime(600),
        )
        if request.get(Username) is None:
            return request.error(401, Realm(REALM), Nonce(b"nonce")).encode()
        match request.method:
            case Method.ALLOCATE if next(granted) > allocations:
                response = request.error(486)
            case Method.ALLOCATE:
                response = request.success(*grant)
            case Method.CREATE_PERMISSION if permission is not None:
                response = request.error(permission)
            case _:
                response = request.success(Lifetime(0))
        return response.encode(integrity=key)

    return respond


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_server_that_relays_is_good(transport: str) -> None:
    async with running_server() as server:
        ended = await natkit("turn", f"{server.uri}?transport={transport}", *CREDENTIALS)
    assert (ended.status, ended.errors) == (0, "")
    title, *rows = ended.output.splitlines()
    assert title.endswith(f"({server.address} over {transport.upper()}) grants an allocation")
    names = [row[2:17].strip() for row in rows]
    assert names == ["relayed address", "mapped address", "lifetime", "allocation", "relay"]
    assert rows[2].split()[1:] == ["600", "s"]
    assert "works both ways" in rows[4]
    assert "a socket here" in rows[4]


async def test_json_has_the_documented_members() -> None:
    async with running_server() as server:
        ended = await natkit("turn", server.uri, *CREDENTIALS, "--json")
    assert ended.status == 0
    result = ended.result
    assert list(result) == [
        "schema",
        "uri",
        "server",
        "relayed_address",
        "mapped_address",
        "lifetime",
        "allocate_time",
        "relay",
        "relay_round_trip",
        "attempts",
    ]
    assert result["uri"] == server.uri
    assert result["lifetime"] == 600.0
    assert result["relay"] == "works"
    attempts = result["attempts"]
    assert isinstance(attempts, list)
    (attempt,) = attempts
    assert attempt == {
        "way": "direct",
        "peer": "127.0.0.1",
        "round_trip": result["relay_round_trip"],
        "error": None,
    }


async def test_a_server_that_permits_no_loopback_relays_between_two_allocations() -> None:
    async with running_server(allow=()) as server:
        ended = await natkit("turn", server.uri, *CREDENTIALS)
    assert (ended.status, ended.errors) == (0, "")
    assert "to a second allocation and back" in ended.output
    assert "the server refuses 127.0.0.1 as a peer (403 Forbidden)" in ended.output


async def test_the_password_may_come_from_the_environment() -> None:
    async with running_server() as server:
        ended = await natkit(
            "turn", server.uri, "--user", USER, environment={"NATKIT_TURN_PASSWORD": PASSWORD}
        )
    assert ended.status == 0


async def test_a_wrong_password_is_a_fault_that_says_what_to_do() -> None:
    async with running_server() as server:
        ended = await natkit("turn", server.uri, "--user", USER, "--password", "wrong")
    assert (ended.status, ended.output) == (1, "")
    assert "refuses the credentials (401 Unauthenticated): check --user and --password" in (
        ended.error
    )
    assert server.uri in ended.error


@pytest.mark.parametrize(
    ("code", "words"),
    [(486, "no more allocations"), (508, "no relayed address"), (403, "refuses: 403 Forbidden")],
)
async def test_a_refused_allocation_is_a_fault(code: int, words: str) -> None:
    async with responder(refusing(code)) as server:
        ended = await natkit("turn", f"turn:{server}", *CREDENTIALS)
    assert ended.status == 1
    assert words in ended.error


async def test_a_server_that_refuses_all_peers_could_not_be_tested() -> None:
    async with responder(granting(403, allocations=1)) as server:
        ended = await natkit("turn", f"turn:{server}", *CREDENTIALS)
        as_json = await natkit("turn", f"turn:{server}", *CREDENTIALS, "--json")
    assert ended.status == 3
    assert "relayed address  127.0.0.1:9" in ended.output
    assert "not tested" in ended.output
    assert "relaying could not be tested" in ended.error
    assert "403 Forbidden" in ended.error
    # The second run's allocation is one too many.
    assert as_json.status == 1


async def test_a_server_that_relays_nothing_is_a_fault() -> None:
    async with responder(granting(None, allocations=10)) as server:
        ended = await natkit("turn", f"turn:{server}", *CREDENTIALS, "--json")
    assert ended.status == 1
    assert ended.result["relay"] == "silent"
    assert ended.result["relay_round_trip"] is None
    assert "no data came through 127.0.0.1:9" in ended.error


async def test_silence_could_not_be_tested() -> None:
    async with responder(lambda _: None) as silent:
        ended = await natkit("turn", f"turn:{silent}", *CREDENTIALS, "--timeout", "0.3")
    assert (ended.status, ended.output) == (3, "")
    assert f"no answer from turn:{silent}" in ended.error


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        # By its first byte this is no message, and the connection is cut.
        (b"\r\nlogin: ", "closed the connection"),
        # This reads like the beginning of a long ChannelData message.
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no answer"),
    ],
    ids=["telnet", "HTTP"],
)
async def test_another_protocol_over_tcp_could_not_be_tested(greeting: bytes, words: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(greeting)
        with suppress(ConnectionError):
            await writer.drain()
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        address = Address(*listener.sockets[0].getsockname())
        ended = await natkit(
            "turn", f"turn:{address}?transport=tcp", *CREDENTIALS, "--timeout", "1"
        )
    assert (ended.status, ended.output) == (3, "")
    assert words in ended.error
    assert str(address) in ended.error


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        CREDENTIALS,
        ("turn:127.0.0.1", "--user", USER),
        ("turn:127.0.0.1", "--password", PASSWORD),
        ("127.0.0.1", *CREDENTIALS),
        ("stun:127.0.0.1", *CREDENTIALS),
        ("turns:127.0.0.1", *CREDENTIALS, "--ca-file", "/no/such/file"),
        ("turns:127.0.0.1?transport=udp", *CREDENTIALS, "--ca-file", "/no/such/file"),
        ("turn:127.0.0.1?transport=sctp", *CREDENTIALS),
        ("turn:127.0.0.1", "--user", "", "--password", PASSWORD),
    ],
    ids=" ".join,
)
async def test_wrong_use_is_one_line_and_status_2(arguments: tuple[str, ...]) -> None:
    ended = await natkit("turn", *arguments)
    assert (ended.status, ended.output) == (2, "")
    assert ended.error
