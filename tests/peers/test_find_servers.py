"""``natkit stun`` and ``natkit turn`` find their server by DNS; BIND 9 has the zone."""

from collections.abc import AsyncIterator, Callable

import pytest

from natkit.address import Address
from tests.natkit.aio.running_server import PASSWORD, USER, running_server
from tests.natkit.cli.command import natkit
from tests.peering.plugin import StartNamed

pytestmark = pytest.mark.peer("bind9")

CREDENTIALS = ("--user", USER, "--password", PASSWORD)


@pytest.fixture
async def server() -> AsyncIterator[Address]:
    async with running_server() as running:
        yield running.address


@pytest.fixture
def bind(start_named: StartNamed, server: Address) -> Callable[[], Address]:
    zones = {
        "srv.example": f"""
_stun._udp IN SRV 0 0 {server.port} host
_stun._tcp IN SRV 0 0 {server.port} host
_turn._udp IN SRV 0 0 {server.port} host
host IN A {server.host}
""",
        "naptr.example": f"""
@ IN NAPTR 10 10 "" "RELAY:turn.udp:turn.tcp" "" relays
relays IN NAPTR 10 10 "s" "RELAY:turn.tcp" "" _turn._tcp
_turn._tcp IN SRV 0 0 {server.port} host
host IN A {server.host}
""",
        "plain.example": f"@ IN A {server.host}\n",
        "closed.example": f"_turn._udp IN SRV 0 0 0 .\n_turn._tcp IN SRV 0 0 0 .\n"
        f"@ IN A {server.host}\n",
    }
    return lambda: start_named(zones)


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("turn:srv.example?transport=udp", "udp"),
        ("turn:naptr.example", "tcp"),
        ("turn:plain.example:PORT?transport=tcp", "tcp"),
        ("turn:plain.example:PORT", "udp"),
    ],
)
async def test_a_turn_server_is_found(
    bind: Callable[[], Address], server: Address, uri: str, transport: str
) -> None:
    uri = uri.replace("PORT", str(server.port))
    ended = await natkit("turn", uri, *CREDENTIALS, "--resolver", str(bind()), "--json")
    assert (ended.status, ended.errors) == (0, "")
    found = ended.result["server"]
    assert isinstance(found, dict)
    assert (found["transport"], found["port"]) == (transport, server.port)


@pytest.mark.parametrize("option", [(), ("--tcp",)], ids=["udp", "tcp"])
async def test_a_stun_server_is_found(
    bind: Callable[[], Address], server: Address, option: tuple[str, ...]
) -> None:
    ended = await natkit("stun", "srv.example", *option, "--resolver", str(bind()), "--json")
    assert (ended.status, ended.errors) == (0, "")
    found = ended.result["server"]
    assert isinstance(found, dict)
    assert found["transport"] == ("tcp" if option else "udp")
    assert (found["host"], found["port"]) == ("host.srv.example", server.port)


async def test_a_domain_that_offers_no_relay_is_one_line(bind: Callable[[], Address]) -> None:
    ended = await natkit("turn", "turn:closed.example", *CREDENTIALS, "--resolver", str(bind()))
    assert ended.status == 1
    assert "leads to no server" in ended.error
    assert 'the target "."' in ended.error


async def test_a_resolver_that_does_not_answer_could_not_be_asked() -> None:
    arguments = ("turn", "turn:example.org", *CREDENTIALS, "--resolver", "127.0.0.1:9")
    ended = await natkit(*arguments)
    assert ended.status == 3
    assert "the DNS gave no answer" in ended.error


@pytest.mark.parametrize(
    "options", [("--resolver", "nonsense"), ("--doh", "http://192.0.2.1/"), ("--trust-anchor", "x")]
)
async def test_a_wrong_resolver_option_is_wrong_use(options: tuple[str, str]) -> None:
    ended = await natkit("stun", "127.0.0.1", *options)
    assert ended.status == 2
    assert ended.error
