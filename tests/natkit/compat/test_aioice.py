"""The Connection of natkit.compat.aioice by itself: aioice's contract, on our agent."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioice
import pytest

from natkit.address import Address
from natkit.compat.aioice import Connection
from natkit.errors import MisuseError
from natkit.gather import GatherSettings
from natkit.ice.settings import IceSettings

LIMIT = 30.0


class Loopback(Connection):
    gathering = GatherSettings(loopback=True, interface_filter=lambda name: name == "lo")


@asynccontextmanager
async def pair(components: int = 1) -> AsyncIterator[tuple[Loopback, Loopback]]:
    """Two connections that know each other."""
    one = Loopback(ice_controlling=True, components=components, use_ipv6=False)
    other = Loopback(ice_controlling=False, components=components, use_ipv6=False)
    try:
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(one.gather_candidates(), other.gather_candidates())
            await introduce(one, other)
            await introduce(other, one)
            await asyncio.gather(one.connect(), other.connect())
            yield one, other
    finally:
        await asyncio.gather(one.close(), other.close())


async def introduce(one: Connection, other: Connection) -> None:
    one.remote_username, one.remote_password = other.local_username, other.local_password
    for candidate in other.local_candidates:
        await one.add_remote_candidate(candidate)
    await one.add_remote_candidate(None)


@pytest.mark.parametrize("components", [1, 2])
async def test_data_passes_both_ways_on_each_component(components: int) -> None:
    async with pair(components) as (one, other):
        assert (one.ice_controlling, other.ice_controlling) == (True, False)
        for component in range(1, components + 1):
            await one.sendto(b"there", component)
            assert await other.recvfrom() == (b"there", component)
            await other.sendto(b"back", component)
            assert await one.recvfrom() == (b"back", component)
        assert {each.component for each in one.local_candidates} == set(range(1, components + 1))
        assert one.remote_candidates == other.local_candidates


async def test_rtp_of_every_payload_type_passes() -> None:
    async with pair() as (one, other):
        for payload_type in range(128):
            for size in (12, 20, 24, 172):
                # The sequence number is what STUN's length field would be.
                packet = bytes([0x80, payload_type]) + (size - 20 & 0xFFFF).to_bytes(2, "big")
                packet += bytes(size - 4)
                await one.send(packet)
                assert await other.recv() == packet


async def test_the_role_may_be_given_after_gathering() -> None:
    one, other = Loopback(ice_controlling=False), Loopback(ice_controlling=False)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(one.gather_candidates(), other.gather_candidates())
        one.ice_controlling = True
        await introduce(one, other)
        await introduce(other, one)
        await asyncio.gather(one.connect(), other.connect())
        assert (one.ice_controlling, other.ice_controlling) == (True, False)
        await asyncio.gather(one.close(), other.close())


async def test_candidates_may_come_while_it_connects() -> None:
    one = Loopback(ice_controlling=True, use_ipv6=False)
    other = Loopback(ice_controlling=False, use_ipv6=False)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(one.gather_candidates(), other.gather_candidates())
        one.remote_username, one.remote_password = other.local_username, other.local_password
        other.remote_username, other.remote_password = one.local_username, one.local_password
        connecting = asyncio.gather(one.connect(), other.connect())
        await asyncio.sleep(0)
        await one.add_remote_candidate(other.local_candidates[0])
        await connecting
        await one.send(b"data")
        assert await other.recv() == b"data"
        await asyncio.gather(one.close(), other.close())


async def test_a_dead_stun_server_is_not_waited_for() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))

        class Impatient(Loopback):
            quiet = 0.05

        connection = Impatient(ice_controlling=True, stun_server=silent.getsockname())
        async with asyncio.timeout(LIMIT):
            await connection.gather_candidates()
            assert {each.type for each in connection.local_candidates} == {"host"}
            await connection.close()


async def test_closing_ends_what_waits_and_is_told_once() -> None:
    async with pair() as (one, other):
        receiving = asyncio.ensure_future(one.recv())
        told = asyncio.ensure_future(one.get_event())
        await asyncio.sleep(0)
        await one.close()
        await one.close()
        with pytest.raises(ConnectionError, match="lost"):
            await receiving
        assert isinstance(await told, aioice.ConnectionClosed)
        assert await one.get_event() is None
        for attempt in (one.send(b"x"), one.recv(), one.connect()):
            with pytest.raises(ConnectionError):
                await attempt
        del other


async def test_a_peer_that_goes_silent_ends_it() -> None:
    class Hasty(Loopback):
        settings = IceSettings(consent_interval=0.1, consent_expiry=0.5)

    one = Hasty(ice_controlling=True, use_ipv6=False)
    other = Loopback(ice_controlling=False, use_ipv6=False)
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(one.gather_candidates(), other.gather_candidates())
        await introduce(one, other)
        await introduce(other, one)
        await asyncio.gather(one.connect(), other.connect())
        assert one._agent is not None
        while one._agent.selected_pair() is None:
            await one.send(b"there")
            await other.send(await other.recv())
            await one.recv()
        told = asyncio.ensure_future(one.get_event())
        await other.close()
        assert isinstance(await told, aioice.ConnectionClosed)
        await one.close()


async def test_misuse_is_told_as_aioice_tells_it() -> None:
    connection = Loopback(ice_controlling=True)
    with pytest.raises(ConnectionError, match="gathering"):
        await connection.connect()
    with pytest.raises(ConnectionError, match="not connected"):
        await connection.send(b"x")
    with pytest.raises(ConnectionError, match="not connected"):
        await connection.recv()
    await connection.gather_candidates()
    with pytest.raises(ConnectionError, match="username"):
        await connection.connect()
    await connection.add_remote_candidate(None)
    with pytest.raises(ValueError, match="end-of-candidates"):
        await connection.add_remote_candidate(None)
    await connection.close()


def test_it_is_made_outside_of_a_loop_with_aioices_arguments() -> None:
    connection = Connection(
        ice_controlling=False,
        stun_server=("stun.example.org", 3478),
        turn_server=("2001:db8::1", 5349),
        turn_username="user",
        turn_password="password",
        turn_ssl=True,
        turn_transport="tcp",
        transport_policy=aioice.TransportPolicy.RELAY,
        local_username="user1",
        local_password="p" * 22,
    )
    assert [each.uri for each in connection._servers] == [
        "stun:stun.example.org:3478",
        "turns:[2001:db8::1]:5349?transport=tcp",
    ]
    assert (connection.local_username, connection.local_password) == ("user1", "p" * 22)
    assert connection.local_candidates == []
    with pytest.raises(MisuseError, match="turn"):
        Connection(
            ice_controlling=False,
            turn_server=("turn.example.org", 1),
            turn_username="user",
            turn_transport="sctp",
        )


async def test_a_candidate_of_aioice_is_the_same_one_here() -> None:
    async with pair() as (one, other):
        for candidate in one.local_candidates:
            again = aioice.Candidate.from_sdp(candidate.to_sdp())
            assert vars(again) == vars(candidate)
            assert Address.of(candidate.host, candidate.port).host == "127.0.0.1"
        del other
