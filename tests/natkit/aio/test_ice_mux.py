"""Many agents on one UDP port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from natkit.address import Address, Family
from natkit.aio import ice_mux
from natkit.aio.ice import Agent
from natkit.aio.ice_mux import IcePort
from natkit.aio.udp import DatagramSockets
from natkit.gather import GatherSettings, HostAddress, TurnServer
from natkit.ice.candidate import CandidateType
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import Username
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.natkit.aio.running_server import PASSWORD, USER, running_server

LIMIT = 30.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""

LOOPBACK = (HostAddress(interface="lo", host="127.0.0.1", is_default=True),)
LOCAL = GatherSettings(loopback=True, families=frozenset({Family.IPV4}))


@pytest.fixture
async def port() -> AsyncIterator[IcePort]:
    port = IcePort([Address("127.0.0.1", 0)])
    yield port
    port.close()


def caller() -> Agent:
    return Agent(gathering=LOCAL, addresses=LOOPBACK)


def answerer(port: IcePort, *servers: TurnServer) -> Agent:
    return Agent(
        servers, controlling=False, gathering=LOCAL, addresses=LOOPBACK, datagrams=port.share()
    )


async def meet(one: Agent, other: Agent) -> None:
    ones, others = await asyncio.gather(one.gather(), other.gather())
    await asyncio.gather(one.connect(others), other.connect(ones))


async def test_agents_share_a_port_and_each_gets_its_own_data(port: IcePort) -> None:
    (address,) = port.addresses
    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        pairs = [
            (
                await stack.enter_async_context(caller()),
                await stack.enter_async_context(answerer(port)),
            )
            for _ in range(5)
        ]
        await asyncio.gather(*(meet(*pair) for pair in pairs))
        for number, (one, other) in enumerate(pairs):
            assert f" {address.port} typ host" in other.local_description
            await one.send(b"to %d" % number)
            await other.send(b"from %d" % number)
        for number, (one, other) in enumerate(pairs):
            assert await other.receive() == b"to %d" % number
            assert await one.receive() == b"from %d" % number


async def test_when_one_agent_ends_the_others_go_on(port: IcePort) -> None:
    async with asyncio.timeout(LIMIT), caller() as ann, caller() as eve, answerer(port) as bob:
        async with answerer(port) as short:
            await meet(eve, short)
        await meet(ann, bob)
        await ann.send(b"still here")
        assert await bob.receive() == b"still here"
        # What comes for the one that ended is nobody's.
        await eve.send(b"anybody?")
        while not port.unclaimed:  # noqa: ASYNC110 - what is asked is a counter
            await asyncio.sleep(0)


async def test_a_second_component_and_a_relay_have_sockets_of_their_own(port: IcePort) -> None:
    async with running_server() as server, asyncio.timeout(LIMIT):
        relay = TurnServer(server.uri, USER, PASSWORD)
        async with Agent(
            [relay],
            components=(2,),
            gathering=LOCAL,
            addresses=LOOPBACK,
            datagrams=port.share(),
        ) as agent:
            await agent.gather()
            candidates = agent._endpoint.agent.local_candidates(0)
            hosts = {each.address.port for each in candidates if each.type is CandidateType.HOST}
            relays = [each for each in candidates if each.type is CandidateType.RELAYED]
            assert len(hosts) == len(relays) == 2
            assert port.addresses[0].port in hosts


async def test_a_forged_check_takes_nobodys_place(port: IcePort) -> None:
    (address,) = port.addresses
    async with (
        asyncio.timeout(LIMIT),
        caller() as ann,
        answerer(port) as bob,
        answerer(port) as eve,
    ):
        await meet(ann, bob)
        await eve.gather()
        (fragment,) = eve._endpoint.agent.username_fragments
        forged = Message.request(Method.BINDING, bytes(12), Username(f"{fragment}:abcd"))
        # As if from ann's address: without the password it is answered by no success.
        (place,) = port._remotes
        port.receive(forged.encode(), Path(Transport.UDP, address, place[1]))
        await ann.send(b"for bob")
        assert await bob.receive() == b"for bob"


async def test_what_strangers_make_a_port_remember_is_bounded(
    port: IcePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice_mux, "MOST_REMOTES", 50)
    monkeypatch.setattr(ice_mux, "MOST_TRANSACTIONS", 50)
    (address,) = port.addresses
    share = port.share()
    request = Message.request(Method.BINDING, bytes(12))
    for number in range(200):
        path = Path(Transport.UDP, address, Address("192.0.2.1", 1000 + number))
        port.sending(share, Transmit(request.encode(), path))
        identifier = number.to_bytes(12, "big")
        port.sending(share, Transmit(Message.request(Method.BINDING, identifier).encode(), path))
    assert len(port._remotes) == len(port._transactions) == 50
    share.close()
    assert not port._remotes
    assert not port._transactions


async def test_a_flood_of_strangers_is_nobodys_and_grows_nothing(port: IcePort) -> None:
    (address,) = port.addresses
    async with asyncio.timeout(LIMIT), answerer(port) as agent:
        await agent.gather()
        strangers = DatagramSockets()
        local = strangers.open(Address("127.0.0.1", 0))
        path = Path(Transport.UDP, local, address)
        sent = 0
        while port.unclaimed < 100:
            for _ in range(20):
                strangers.send(Transmit(b"\x00\x01" + bytes(18), path))
                sent += 1
            strangers.flush()
            await asyncio.sleep(0)
        strangers.close()
        assert not port._remotes
        assert not port._transactions
