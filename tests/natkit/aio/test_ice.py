"""Agents on asyncio that find each other on loopback, with our own server between them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from natkit.address import Family
from natkit.aio.ice import Agent, IceFailed
from natkit.aio.mdns import Mdns
from natkit.errors import MalformedMessage, MisuseError, NoService, UnreachableError
from natkit.gather import (
    GatherSettings,
    HostAddress,
    Policy,
    ServerFailed,
    StunServer,
    TurnServer,
)
from natkit.gather.endpoint import CandidateFound
from natkit.ice.candidate import CandidateType
from natkit.ice.events import IceState, PairSelected, StateChanged
from natkit.ice.settings import IceSettings
from natkit.locate import Target
from natkit.machine import Transport
from natkit.net.interfaces import InterfaceAddress
from natkit.stun.transaction import Timing
from tests.natkit.aio.running_server import PASSWORD, USER, RunningServer, running_server

LIMIT = 30.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""

LOOPBACK = (HostAddress(interface="lo", host="127.0.0.1", is_default=True),)
LOCAL = GatherSettings(loopback=True, families=frozenset({Family.IPV4}))
RELAY = GatherSettings(policy=Policy.RELAY, families=frozenset({Family.IPV4}))


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server() as server:
        yield server


def turn(server: RunningServer, transport: str = "udp") -> TurnServer:
    return TurnServer(f"{server.uri}?transport={transport}", USER, PASSWORD)


@asynccontextmanager
async def two_agents(
    *,
    gathering: GatherSettings = LOCAL,
    components: tuple[int, ...] = (1,),
    settings: IceSettings | None = None,
) -> AsyncIterator[tuple[Agent, Agent]]:
    def agent(*, controlling: bool) -> Agent:
        return Agent(
            controlling=controlling,
            components=components,
            gathering=gathering,
            settings=settings,
            addresses=LOOPBACK,
        )

    async with (
        asyncio.timeout(LIMIT),
        agent(controlling=True) as ann,
        agent(controlling=False) as bob,
    ):
        yield ann, bob


async def meet(ann: Agent, bob: Agent) -> None:
    """Exchange descriptions and connect."""
    anns, bobs = await asyncio.gather(ann.gather(), bob.gather())
    await asyncio.gather(ann.connect(bobs), bob.connect(anns))


async def speak(ann: Agent, bob: Agent, *, component: int = 1, stream: int = 0) -> None:
    """Data passes both ways."""
    await ann.send(b"from ann", component=component, stream=stream)
    assert await bob.receive(component=component, stream=stream) == b"from ann"
    await bob.send(b"from bob", component=component, stream=stream)
    assert await ann.receive(component=component, stream=stream) == b"from bob"


async def test_two_agents_meet_and_data_passes_both_ways() -> None:
    async with two_agents() as (ann, bob):
        await meet(ann, bob)
        await speak(ann, bob)
        await asyncio.gather(ann.settle(), bob.settle())
        await speak(ann, bob)
        pair = ann.selected_pair()
        assert pair is not None
        assert pair.path.local.host == "127.0.0.1"
        assert (ann.controlling, bob.controlling) == (True, False)


async def test_each_component_of_each_stream_has_a_path_of_its_own() -> None:
    async with two_agents(components=(2, 1)) as (ann, bob):
        await meet(ann, bob)
        places = ((0, 1), (0, 2), (1, 1))
        for stream, component in places:
            await speak(ann, bob, component=component, stream=stream)
        await ann.settle()
        locals_ = {
            pair.path.local
            for stream, component in places
            if (pair := ann.selected_pair(component=component, stream=stream)) is not None
        }
        assert len(locals_) == 3


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_through_a_relay_alone_agents_meet_too(server: RunningServer, transport: str) -> None:
    async with (
        asyncio.timeout(LIMIT),
        Agent([turn(server, transport)], gathering=RELAY, controlling=True) as ann,
        Agent([turn(server)], gathering=RELAY, controlling=False) as bob,
    ):
        await meet(ann, bob)
        for _ in range(20):
            await speak(ann, bob)
        await ann.settle()
        pair = ann.selected_pair()
        assert pair is not None
        assert pair.local.type is CandidateType.RELAYED
        assert pair.remote.type is CandidateType.RELAYED
        assert LOOPBACK[0].host in ann.local_description
        assert "srflx" not in ann.local_description


async def test_candidates_trickle_both_ways() -> None:
    async with two_agents() as (ann, bob):
        # Neither has gathered when the descriptions cross.
        anns, bobs = ann.local_description, bob.local_description
        assert "candidate" not in anns
        ann.add_remote(bobs)
        bob.add_remote(anns)

        async def trickle(one: Agent, other: Agent) -> None:
            one.start_gathering()
            async for event in one:
                if isinstance(event, CandidateFound):
                    other.add_remote(one.local_description)
                    return

        await asyncio.gather(trickle(ann, bob), trickle(bob, ann), ann.connect(), bob.connect())
        await speak(ann, bob)


async def test_a_restart_brings_a_new_session_and_data_passes_meanwhile() -> None:
    async with two_agents() as (ann, bob):
        await meet(ann, bob)
        anns = await ann.restart()
        await speak(ann, bob)
        bob.add_remote(anns)
        await asyncio.gather(ann.connect(bob.local_description), bob.connect())
        await speak(ann, bob)


async def test_over_tcp_alone_packets_keep_their_bounds() -> None:
    gathering = GatherSettings(loopback=True, tcp=True, families=frozenset({Family.IPV4}))
    async with two_agents(gathering=gathering) as (ann, bob):
        anns, bobs = await asyncio.gather(ann.gather(), bob.gather())

        def without_udp(text: str) -> str:
            lines = text.splitlines(keepends=True)
            return "".join(line for line in lines if " udp " not in line.lower())

        await asyncio.gather(ann.connect(without_udp(bobs)), bob.connect(without_udp(anns)))
        await ann.settle()
        pair = ann.selected_pair()
        assert pair is not None
        assert pair.path.transport is Transport.TCP
        for size in (1, 100, 1200, 60000):
            await ann.send(bytes(size))
            assert len(await bob.receive()) == size
        await speak(ann, bob)


async def test_addresses_are_hidden_behind_names_that_the_peer_resolves() -> None:
    links = (InterfaceAddress("lo", "127.0.0.1"),)
    async with asyncio.timeout(LIMIT), Mdns(links) as anns_names, Mdns(links) as bobs_names:

        def agent(names: Mdns, *, controlling: bool) -> Agent:
            return Agent(
                controlling=controlling,
                gathering=LOCAL,
                addresses=LOOPBACK,
                mdns=names,
                hide_addresses=True,
            )

        async with (
            agent(anns_names, controlling=True) as ann,
            agent(bobs_names, controlling=False) as bob,
        ):
            await meet(ann, bob)
            await speak(ann, bob)
            for each in (ann, bob):
                assert ".local" in each.local_description
                assert "127.0.0.1" not in each.local_description


async def test_a_name_that_nobody_may_resolve_is_no_path_and_no_crash() -> None:
    hasty = IceSettings(patience=0.2)
    named = (
        "m=audio 9 RTP/AVP 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n"
        "a=candidate:1 1 udp 1 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 5000 typ host\r\n"
        "a=end-of-candidates\r\n"
    )
    async with (
        asyncio.timeout(LIMIT),
        Agent(gathering=LOCAL, addresses=LOOPBACK, settings=hasty) as agent,
    ):
        with pytest.raises(IceFailed):
            await agent.connect(named)
    with pytest.raises(MisuseError):
        Agent(hide_addresses=True)


async def test_failures_and_candidates_are_events_with_their_server_and_time(
    server: RunningServer,
) -> None:
    servers = (StunServer(f"stun:{server.address}"), TurnServer(server.uri, USER, "wrong"))
    async with (
        asyncio.timeout(LIMIT),
        Agent(servers, gathering=LOCAL, addresses=LOOPBACK) as agent,
    ):
        await agent.gather()
        await agent.close()
        events = [event async for event in agent]
    (found,) = (event for event in events if isinstance(event, CandidateFound))
    (failed,) = (event for event in events if isinstance(event, ServerFailed))
    assert (found.source.name, found.candidate.address) == ("lo", found.candidate.address)
    assert (failed.source.name, "401" in str(failed.error)) == (server.uri, True)
    assert found.elapsed <= failed.elapsed


class Nowhere:
    """A DNS in which nothing is."""

    async def locate(self, uri: str) -> Sequence[Target]:
        raise NoService(f"nothing at {uri}")


async def test_a_name_that_leads_nowhere_is_told_and_costs_nothing_else() -> None:
    servers = ["stun:nowhere.invalid"]
    async with (
        asyncio.timeout(LIMIT),
        Agent(servers, gathering=LOCAL, addresses=LOOPBACK, locator=Nowhere()) as agent,
    ):
        await agent.gather()
        told = [await anext(agent) for _ in range(2)]
        assert {type(event) for event in told} == {CandidateFound, ServerFailed}
        assert "nothing at stun:nowhere.invalid" in str(told)


async def test_when_there_is_no_path_the_failure_explains_each_pair() -> None:
    hasty = Timing(request_count=1, last_wait=1)
    settings = IceSettings(patience=0.5, timing=hasty)
    async with two_agents(settings=settings) as (ann, bob):
        _, bobs = await asyncio.gather(ann.gather(), bob.gather())
        # A port at which nobody answers.
        wrong = bobs.replace(f" {_port(bobs)} typ", " 9 typ")
        with pytest.raises(IceFailed) as failure:
            await ann.connect(wrong)
        explanation = failure.value.explanation
        assert explanation is not None
        assert len(explanation.pairs) == 1
        assert "127.0.0.1:9" in str(explanation)
        assert ann.state is IceState.FAILED


def _port(description: str) -> int:
    (line,) = (line for line in description.splitlines() if "candidate:" in line)
    return int(line.split()[5])


async def test_sending_without_a_path_and_after_the_end_is_refused() -> None:
    async with two_agents() as (ann, _):
        with pytest.raises(UnreachableError):
            await ann.send(b"too early")
        with pytest.raises(MisuseError):
            await ann.send(b"where", component=2)
        with pytest.raises(MalformedMessage):
            ann.add_remote("no description")
        waiting = asyncio.ensure_future(ann.receive())
        await asyncio.sleep(0)
        await ann.close()
        with pytest.raises(MisuseError):
            await waiting
        with pytest.raises(MisuseError):
            await ann.send(b"too late")
        await ann.close()


async def test_who_does_not_receive_loses_the_oldest_datagrams() -> None:
    async with two_agents() as (ann, bob):
        await meet(ann, bob)
        queue = bob._received[0, 1]
        for number in range(1100):
            bob._keep(queue, str(number).encode())
        assert (len(queue), bob.dropped) == (1024, 76)
        assert await bob.receive() == b"76"


async def test_states_and_pairs_are_told_in_order() -> None:
    async with two_agents() as (ann, bob):
        await meet(ann, bob)
        await ann.settle()
        await ann.close()
        events = [event async for event in ann]
        states = [event.state for event in events if isinstance(event, StateChanged)]
        assert states.index(IceState.CHECKING) < states.index(IceState.CONNECTED)
        assert any(isinstance(event, PairSelected) for event in events)
