"""libnice and our agent, each controlling and controlled, over UDP and TCP, trickling and not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from natkit.aio.ice import Agent
from natkit.gather import GatherSettings
from natkit.gather.endpoint import CandidateFound
from natkit.gather.events import GatheringEnded
from natkit.ice import IceSettings, TcpType
from natkit.ice.candidate_attribute import write_candidate
from natkit.ice.sdp import parse_description
from natkit.machine import Transport
from tests.peering.ice_agent import IceAgent, ice_agent
from tests.peering.libnice import Libnice, libnice

pytestmark = pytest.mark.peer("libnice")

LIMIT = 30.0
RTP_TYPES = (0, 3, 4, 8, 9, 18, 96, 127)
"""GSM, G.723, PCMA and G.722 among them: with some lengths they look like STUN to some."""


@asynccontextmanager
async def both(
    *, controlling: bool, components: int = 1, **options: bool
) -> AsyncIterator[tuple[IceAgent, Libnice]]:
    """The two agents; ``options`` are libnice's."""
    settings = IceSettings(controlling=controlling)
    async with (
        ice_agent(settings, components=components) as ours,
        libnice(options | {"controlling": not controlling, "components": components}) as theirs,
    ):
        yield ours, theirs


def tell_parameters(ours: IceAgent, theirs: Libnice, *, lite: bool = False) -> None:
    theirs.remote(ours.parameters.username_fragment, ours.parameters.password)
    ours.remote(theirs.fragment, theirs.password, lite=lite)


async def exchange(ours: IceAgent, theirs: Libnice, *, lite: bool = False) -> None:
    """All that each has, in one go."""
    ours.end_gathering()
    lines = await theirs.gather()
    tell_parameters(ours, theirs, lite=lite)
    theirs.add(ours.lines)
    ours.add(lines)
    ours.end()


async def echo(ours: IceAgent, theirs: Libnice, component: int = 1) -> None:
    """Data of all kinds passes both ways, whole and in order on a path that loses nothing."""
    for number, kind in enumerate(RTP_TYPES):
        # A length that a STUN message of these first bytes would have.
        packet = bytes([0x80, kind]) + (20 + number * 4).to_bytes(2, "big") + bytes(36 + number * 4)
        assert ours.send(packet, component)
        assert await theirs.receive(component) == packet
        theirs.send(packet[::-1] + packet, component)
        assert await ours.receive(component) == packet[::-1] + packet


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
@pytest.mark.parametrize("components", [1, 2])
async def test_libnice_and_we_select_one_pair_a_component(
    controlling: bool, components: int
) -> None:
    async with both(controlling=controlling, components=components) as (ours, theirs):
        ours.gather_udp()
        await exchange(ours, theirs)
        for component in range(1, components + 1):
            pair = await ours.selected(component)
            assert pair.path.transport is Transport.UDP
            await theirs.wait("state", component=component, state="ready")
            await echo(ours, theirs, component)
        assert ours.agent.controlling is controlling


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
@pytest.mark.parametrize("kind", [TcpType.ACTIVE, TcpType.PASSIVE])
async def test_libnice_without_udp_meets_us_over_tcp(controlling: bool, kind: TcpType) -> None:
    async with both(controlling=controlling, udp=False, tcp=True) as (ours, theirs):
        await ours.gather_tcp([kind])
        await exchange(ours, theirs)
        pair = await ours.selected()
        assert pair.path.transport is Transport.TCP
        await theirs.wait("state", component=1, state="ready")
        await echo(ours, theirs)
        assert theirs.candidates
        assert all(" TCP " in line for line in theirs.candidates)


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
async def test_candidates_trickle_both_ways_after_checks_could_begin(controlling: bool) -> None:
    async with both(controlling=controlling, trickle=True) as (ours, theirs):
        tell_parameters(ours, theirs)
        ours.gather_udp()
        theirs.add(ours.lines)
        lines = await theirs.gather()
        # Only now has ours anything to check; the other side tried already.
        ours.add(lines)
        ours.end_gathering()
        theirs.do("end")
        ours.end()
        await ours.selected()
        await theirs.wait("state", component=1, state="ready")
        await echo(ours, theirs)


async def test_a_conflict_of_roles_is_resolved_and_one_pair_selected() -> None:
    async with (
        ice_agent(IceSettings(controlling=True)) as ours,
        libnice({"controlling": True}) as theirs,
    ):
        ours.gather_udp()
        await exchange(ours, theirs)
        await ours.selected()
        await theirs.wait("state", component=1, state="ready")
        await echo(ours, theirs)


async def test_libnice_nominates_aggressively_and_we_follow() -> None:
    async with both(controlling=False, aggressive=True) as (ours, theirs):
        ours.gather_udp()
        await exchange(ours, theirs)
        await ours.selected()
        await theirs.wait("state", component=1, state="ready")
        await echo(ours, theirs)


async def test_libnice_as_a_lite_agent_is_checked_and_nominated_by_us() -> None:
    async with both(controlling=True, lite=True) as (ours, theirs):
        ours.gather_udp()
        await exchange(ours, theirs, lite=True)
        await ours.selected()
        await echo(ours, theirs)


async def test_after_a_restart_both_meet_on_new_credentials() -> None:
    async with both(controlling=True) as (ours, theirs):
        ours.gather_udp()
        await exchange(ours, theirs)
        await ours.selected()
        await theirs.wait("state", component=1, state="ready")
        before = ours.parameters
        ours.driver.run(ours.agent.restart)
        assert ours.parameters.username_fragment != before.username_fragment
        theirs.candidates.clear()
        theirs.do("restart")
        await theirs.start()
        await theirs.wait("gathered")
        tell_parameters(ours, theirs)
        theirs.add(ours.lines)
        ours.add(theirs.candidates)
        ours.end()
        while len(ours.selections()) < 2:
            await asyncio.wait_for(ours.changed(), 30)
        await echo(ours, theirs)


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
async def test_our_face_trickles_fragments_both_ways(controlling: bool) -> None:
    """natkit.aio.ice as a program uses it: each candidate is told as it comes."""
    options: dict[str, object] = {"controlling": not controlling, "trickle": True}
    gathering = GatherSettings(loopback=True, interface_filter=lambda name: name == "lo")
    async with (
        asyncio.timeout(LIMIT),
        libnice(options) as theirs,
        Agent(controlling=controlling, gathering=gathering) as ours,
    ):
        (media,) = parse_description(ours.local_description).media
        assert media.parameters is not None
        theirs.remote(media.parameters.username_fragment, media.parameters.password)

        async def tell_theirs() -> None:
            async for event in ours:
                if isinstance(event, CandidateFound):
                    theirs.add([f"a={write_candidate(event.candidate)}"])
                elif isinstance(event, GatheringEnded):
                    theirs.do("end")

        telling = asyncio.ensure_future(tell_theirs())
        described = (
            f"a=ice-options:trickle\r\na=ice-ufrag:{theirs.fragment}\r\n"
            f"a=ice-pwd:{theirs.password}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
        )
        ours.start_gathering()
        ours.add_remote(described)
        for line in await theirs.gather():
            ours.add_remote(f"{described}{line}\r\n")
        ours.add_remote(f"{described}a=end-of-candidates\r\n")
        await ours.connect()
        await theirs.wait("state", component=1, state="ready")
        await ours.send(b"there")
        assert await theirs.receive() == b"there"
        theirs.send(b"back")
        assert await ours.receive() == b"back"
    await telling
