"""The allocation face against servers on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from natkit.address import Address, Family
from natkit.aio import turn
from natkit.aio.turn import Allocation, allocate
from natkit.errors import (
    AddressFamilyNotSupported,
    Forbidden,
    MisuseError,
    NoService,
    QuotaReached,
    TransactionTimeout,
    TryAlternate,
    Unauthenticated,
    UnreachableError,
)
from natkit.locate import Target
from natkit.machine import Transport
from natkit.stun.attributes import AlternateServer
from stun_server.events import AllocationClosed, AllocationMoved, ChannelBound, CloseReason
from tests.natkit.aio.running_server import (
    PASSWORD,
    USER,
    RunningServer,
    refusing,
    responder,
    running_server,
)

LIMIT = 20.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""

FORBIDDEN = Address("10.0.0.1", 5000)


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    """A server that permits loopback."""
    async with running_server() as server:
        yield server


@pytest.fixture(params=["udp", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    """How the client reaches its server."""
    assert isinstance(request.param, str)
    return request.param


def at(
    server: RunningServer | Address, transport: str = "udp"
) -> AbstractAsyncContextManager[Allocation]:
    address = server.address if isinstance(server, RunningServer) else server
    uri = f"turn:{address}?transport={transport}"
    return allocate(uri, username=USER, password=PASSWORD, timeout=LIMIT)


async def drops(relay: Allocation, count: int) -> None:
    """Until so many datagrams were dropped; nothing else shows that they have arrived."""
    async with asyncio.timeout(LIMIT):
        while relay.dropped < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_two_allocations_exchange_datagrams(server: RunningServer, transport: str) -> None:
    async with at(server, transport) as ann, at(server, transport) as bob, asyncio.timeout(LIMIT):
        assert ann.relayed_address != bob.relayed_address
        assert ann.mapped_address is not None
        assert ann.lifetime == 600.0
        assert 0.0 <= ann.round_trip < LIMIT
        assert ann.server.address == server.address
        await bob.permit(ann.relayed_address)
        await ann.send(b"hello", bob.relayed_address)
        assert await bob.receive() == (b"hello", ann.relayed_address)
        await bob.bind_channel(ann.relayed_address)
        await bob.send(b"and hello", ann.relayed_address)
        assert await ann.receive() == (b"and hello", bob.relayed_address)
    assert [event for event in server.events if isinstance(event, ChannelBound)]


async def test_leaving_the_context_deletes_the_allocation(
    server: RunningServer, transport: str
) -> None:
    async with at(server, transport):
        pass
    closed = [event for event in server.events if isinstance(event, AllocationClosed)]
    assert [event.reason for event in closed] == [CloseReason.DELETED]


async def test_an_exception_inside_the_context_comes_out_and_the_allocation_is_deleted(
    server: RunningServer,
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with at(server):
            raise ZeroDivisionError
    assert any(isinstance(event, AllocationClosed) for event in server.events)


async def test_an_ipv6_server_relays() -> None:
    async with (
        running_server("::1") as server,
        allocate(server.uri, username=USER, password=PASSWORD, family=Family.IPV6) as relay,
    ):
        assert relay.relayed_address.host == "::1"


async def test_a_wish_for_a_lifetime_is_granted(server: RunningServer) -> None:
    async with allocate(server.uri, username=USER, password=PASSWORD, lifetime=1800) as relay:
        assert relay.lifetime == 1800.0


async def test_a_wrong_password_is_unauthenticated(server: RunningServer, transport: str) -> None:
    with pytest.raises(Unauthenticated):
        async with allocate(f"{server.uri}?transport={transport}", username=USER, password="wrong"):
            pass


async def test_an_unknown_user_is_unauthenticated(server: RunningServer) -> None:
    with pytest.raises(Unauthenticated):
        async with allocate(server.uri, username="eve", password=PASSWORD):
            pass


async def test_a_quota_and_a_missing_family_are_typed_errors() -> None:
    async with running_server(allocations_per_user=1) as server, at(server):
        with pytest.raises(QuotaReached):
            async with at(server):
                pass
    async with running_server() as server:
        with pytest.raises(AddressFamilyNotSupported):
            async with allocate(server.uri, username=USER, password=PASSWORD, family=Family.IPV6):
                pass


async def test_a_forbidden_peer_is_raised_by_each_way_to_reach_it(server: RunningServer) -> None:
    async with at(server) as relay:
        with pytest.raises(Forbidden):
            await relay.permit(FORBIDDEN)
        with pytest.raises(Forbidden):
            await relay.bind_channel(FORBIDDEN)
        with pytest.raises(Forbidden):
            await relay.send(b"data", FORBIDDEN)
        # And it goes on for others.
        await relay.permit(relay.relayed_address)


async def test_misuse_is_raised_at_once(server: RunningServer) -> None:
    async with at(server) as relay:
        with pytest.raises(MisuseError):
            await relay.permit(Address("::1", 1))
        with pytest.raises(MisuseError):
            await relay.send(bytes(70_000), relay.relayed_address)


async def test_many_wait_for_one_permission(server: RunningServer) -> None:
    async with at(server) as relay, asyncio.timeout(LIMIT):
        peer = relay.relayed_address
        await asyncio.gather(*(relay.send(b"%d" % number, peer) for number in range(5)))
        assert {(await relay.receive())[0] for _ in range(5)} == {b"0", b"1", b"2", b"3", b"4"}


async def test_a_cancelled_wait_harms_nobody(server: RunningServer) -> None:
    async with at(server) as relay, asyncio.timeout(LIMIT):
        waits = [
            asyncio.ensure_future(relay.permit(relay.relayed_address)),
            asyncio.ensure_future(relay.permit(relay.relayed_address)),
            asyncio.ensure_future(relay.receive()),
        ]
        await asyncio.sleep(0)
        waits[0].cancel()
        waits[2].cancel()
        await waits[1]
        await relay.send(b"data", relay.relayed_address)
        assert (await relay.receive())[0] == b"data"


async def test_the_receive_queue_is_bounded_and_the_oldest_is_dropped(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "RECEIVE_QUEUE", 4)
    async with at(server, "tcp") as relay, asyncio.timeout(LIMIT):
        for number in range(10):
            await relay.send(b"%d" % number, relay.relayed_address)
            # One after the other, so that none is lost or overtaken on its way.
            await drops(relay, number - 3)
        assert [(await relay.receive())[0] for _ in range(4)] == [b"6", b"7", b"8", b"9"]


async def test_a_lost_allocation_is_raised_after_what_had_arrived(server: RunningServer) -> None:
    async with at(server, "tcp") as relay, asyncio.timeout(LIMIT):
        await relay.send(b"last", relay.relayed_address)
        waiting = asyncio.ensure_future(relay.receive())
        assert (await waiting)[0] == b"last"
        receiving = asyncio.ensure_future(relay.receive())
        server.cut_connections()
        with pytest.raises(UnreachableError, match="closed the connection"):
            await receiving
        for action in (
            relay.receive(),
            relay.send(b"", relay.relayed_address),
            relay.permit(relay.relayed_address),
            relay.bind_channel(relay.relayed_address),
        ):
            with pytest.raises(UnreachableError):
                await action
        # What it was remains known.
        assert relay.relayed_address.host == "127.0.0.1"


async def test_after_close_everything_is_misuse(server: RunningServer) -> None:
    async with at(server) as relay:
        receiving = asyncio.ensure_future(relay.receive())
        await asyncio.sleep(0)
        await relay.close()
        with pytest.raises(MisuseError, match="closed"):
            await receiving
        with pytest.raises(MisuseError, match="closed"):
            await relay.send(b"", relay.relayed_address)
        await relay.close()


async def test_silence_is_a_timeout_and_costs_no_wait_at_the_end() -> None:
    async with responder(lambda _: None) as silent:
        uri = f"turn:{silent}"
        with pytest.raises(TransactionTimeout, match=r"within 0\.2 s"):
            async with allocate(uri, username=USER, password=PASSWORD, timeout=0.2):
                pass


async def test_a_redirection_is_followed_with_the_same_credentials(server: RunningServer) -> None:
    async with (
        responder(refusing(300, AlternateServer(server.address))) as elsewhere,
        at(elsewhere) as relay,
    ):
        assert relay.server.address == server.address


async def test_redirections_in_a_circle_end() -> None:
    addresses: list[Address] = []

    def send_on(index: int) -> Callable[[bytes], bytes]:
        # The address is known when the first datagram comes.
        return lambda data: refusing(300, AlternateServer(addresses[index]))(data)  # noqa: PLW0108

    async with responder(send_on(1)) as first, responder(send_on(0)) as second:
        addresses += [first, second]
        with pytest.raises(TryAlternate):
            async with at(first):
                pass


async def test_an_answer_is_raised_rather_than_the_silence_of_another_address() -> None:
    class Two:
        async def locate(self, uri: str) -> list[Target]:
            assert uri == "turn:example.org"
            return [
                Target(Transport.TCP, nowhere, "example.org", "example.org"),
                Target(Transport.UDP, busy, "example.org", "example.org"),
            ]

    nowhere = Address("127.0.0.1", 1)
    async with responder(refusing(486)) as busy, asyncio.timeout(LIMIT):
        with pytest.raises(QuotaReached):
            async with allocate(
                "turn:example.org", username=USER, password=PASSWORD, locator=Two()
            ):
                pass


async def test_no_target_is_no_service() -> None:
    class Nothing:
        async def locate(self, uri: str) -> list[Target]:
            assert uri
            return []

    with pytest.raises(NoService):
        async with allocate(
            "turn:example.org", username=USER, password=PASSWORD, locator=Nothing()
        ):
            pass


@pytest.mark.parametrize(
    "uri", ["example.org", "stun:example.org", "stuns:example.org", "turn:", "turn:x?transport=x"]
)
async def test_a_wrong_uri_is_misuse(uri: str) -> None:
    with pytest.raises(MisuseError):
        async with allocate(uri, username=USER, password=PASSWORD):
            pass


@pytest.mark.parametrize(
    ("domain", "name"), [(None, "turn.example.org"), ("b.example.net", "b.example.net")]
)
async def test_a_redirection_may_name_another_certificate(domain: str | None, name: str) -> None:
    """RFC 8489 §10: ALTERNATE-DOMAIN, or else the name that was asked for first."""
    first, second = Address("192.0.2.1", 5349), Address("192.0.2.2", 5349)
    asked: list[Target] = []

    async def open_at(server: Target) -> Allocation:
        asked.append(server)
        if server.address == second:
            raise Forbidden(403)
        redirection = TryAlternate(300)
        redirection.servers, redirection.domain = (second,), domain
        raise redirection

    target = Target(Transport.TLS, first, "a.example.org", "turn.example.org")
    with pytest.raises(Forbidden):
        await turn.allocate_somewhere(open_at, [target])
    assert asked == [target, Target(Transport.TLS, second, "a.example.org", name)]


@pytest.mark.parametrize("kind", ["udp", "tcp"])
async def test_an_allocation_moves_to_another_socket_and_goes_on(
    server: RunningServer, kind: str
) -> None:
    uri = f"{server.uri}?transport={kind}"
    async with (
        asyncio.timeout(LIMIT),
        allocate(uri, username=USER, password=PASSWORD, mobile=True) as relay,
        allocate(server.uri, username=USER, password=PASSWORD) as other,
    ):
        assert relay.can_move
        await relay.bind_channel(other.relayed_address)
        await other.permit(relay.relayed_address)
        relayed = relay.relayed_address
        await relay.move()
        assert relay.relayed_address == relayed
        await relay.send(b"from elsewhere", other.relayed_address)
        assert await other.receive() == (b"from elsewhere", relayed)
        await other.send(b"to there", relayed)
        assert await relay.receive() == (b"to there", other.relayed_address)
    [moved] = [event for event in server.events if isinstance(event, AllocationMoved)]
    assert moved.before != moved.client


async def test_a_cut_connection_costs_no_allocation_that_can_move(server: RunningServer) -> None:
    uri = f"{server.uri}?transport=tcp"
    async with (
        asyncio.timeout(LIMIT),
        allocate(uri, username=USER, password=PASSWORD, mobile=True) as relay,
        allocate(server.uri, username=USER, password=PASSWORD) as other,
    ):
        await relay.permit(other.relayed_address)
        await other.permit(relay.relayed_address)
        server.cut_connections()
        # It is answered by the new connection alone.
        await relay.permit(Address("127.0.0.2", 5000))
        assert any(isinstance(event, AllocationMoved) for event in server.events)
        await other.send(b"still there?", relay.relayed_address)
        assert await relay.receive() == (b"still there?", other.relayed_address)


async def test_what_cannot_move_says_so(server: RunningServer) -> None:
    async with at(server) as relay:
        assert not relay.can_move
        with pytest.raises(MisuseError, match="no mobility ticket"):
            await relay.move()
