"""What an operator sees of a running server, and what it does when told, on loopback."""

import time

import pytest

from natkit.address import Address
from natkit.aio.stun import binding
from natkit.aio.turn import allocate
from natkit.errors import ErrorResponse
from natkit.machine import Transport
from stun_server.administration import AllocationCount, Phase, Traffic
from tests.stun_server.shell.test_running import PASSWORD, USER, plain_peer, running, until


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_session_is_seen_with_its_traffic_while_it_lives(transport: str) -> None:
    async with (
        running() as server,
        plain_peer() as peer,
        allocate(server.uri(transport), username=USER, password=PASSWORD) as relay,
    ):
        there = Address(*peer.getsockname())
        await relay.bind_channel(there)
        await relay.send(b"four", there)
        admin = server.server.administration
        await until(lambda: server.server.totals().packets_to_peers)

        (session,) = await admin.sessions(10)
        assert session.user == USER
        assert session.transport == transport
        assert session.relayed == (str(relay.relayed_address),)
        assert session.traffic == Traffic(packets_to_peers=1, bytes_to_peers=4)
        assert (session.permissions, session.channels) == (1, 1)
        assert session.since <= time.time() < session.expires
        status = await admin.status()
        assert status.sessions == 1
        assert status.allocations == (AllocationCount(Transport(transport), 4, 1),)
        assert status.relayed == session.traffic
        assert status.workers[0].descriptors.used > 0
        assert await admin.disconnect(session.id)
        (closed,) = server.lines("allocation closed")
        assert (closed["session"], closed["user"]) == (session.id, USER)
        assert (closed["bytes_to_peers"], closed["bytes_to_clients"]) == (4, 0)


async def test_bindings_are_counted_whoever_answered_them() -> None:
    async with running() as server:
        for tcp in (False, True):
            await binding(server.address, tcp=tcp)
        assert (await server.server.administration.status()).bindings == 2


async def test_a_session_ends_when_the_operator_says_so() -> None:
    async with running() as server, allocate(server.uri("udp"), username=USER, password=PASSWORD):
        admin = server.server.administration
        (session,) = await admin.sessions(10)
        assert await admin.disconnect(session.id)
        assert not await admin.disconnect(session.id)
        assert await admin.sessions(10) == ()
        assert server.lines("allocation closed")[0]["reason"] == "ended by the operator"


async def test_no_more_sessions_are_listed_than_were_asked_for() -> None:
    async with (
        running() as server,
        allocate(server.uri("udp"), username=USER, password=PASSWORD),
        allocate(server.uri("udp"), username=USER, password=PASSWORD),
    ):
        assert len(await server.server.administration.sessions(1)) == 1


async def test_a_drain_refuses_new_allocations_keeps_the_others_and_ends_with_the_last() -> None:
    async with running() as server:
        admin = server.server.administration
        async with allocate(server.uri("udp"), username=USER, password=PASSWORD):
            drain = await admin.drain(100.0)
            assert drain.sessions == 1
            status = await admin.status()
            assert status.phase is Phase.DRAINING
            assert not status.is_ready
            with pytest.raises(ErrorResponse) as refused:
                async with allocate(server.uri("udp"), username=USER, password=PASSWORD):
                    pass
            assert refused.value.code == 508
            assert not server.server.draining.over.is_set()
        await server.server.draining.over.wait()


async def test_a_drain_ends_after_its_limit_though_sessions_live() -> None:
    async with running() as server, allocate(server.uri("udp"), username=USER, password=PASSWORD):
        await server.server.administration.drain(0.01)
        await server.server.draining.over.wait()
        assert server.lines("drain over")[0]["sessions_cut"] == 1
