"""aioice: our agent with it, controlling and controlled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioice
import pytest

from natkit.ice import IceSettings
from tests.peering.ice_agent import IceAgent, ice_agent

pytestmark = pytest.mark.peer("aioice")

DATA = [bytes([0x80, 0x60]) + bytes(size) for size in (1, 10, 172, 1170)]
"""What aioice takes for STUN, RTP of the types 3, 4, 8, 9 with some lengths, is not among it."""


class Loopback(aioice.Connection):
    """aioice never uses 127.0.0.1; a network that is nobody's is what tests have."""

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 - aioice's
    ) -> list[aioice.Candidate]:
        del addresses
        found = await super().get_component_candidates(component, ["127.0.0.1"], timeout)
        assert isinstance(found, list)
        return found


@asynccontextmanager
async def both(
    *, controlling: bool, components: int = 1
) -> AsyncIterator[tuple[IceAgent, aioice.Connection]]:
    theirs = Loopback(ice_controlling=not controlling, components=components, use_ipv6=False)
    async with ice_agent(IceSettings(controlling=controlling), components=components) as ours:
        try:
            yield ours, theirs
        finally:
            await theirs.close()


async def meet(ours: IceAgent, theirs: aioice.Connection) -> None:
    ours.gather_udp()
    ours.end_gathering()
    await theirs.gather_candidates()
    theirs.remote_username = ours.parameters.username_fragment
    theirs.remote_password = ours.parameters.password
    for line in ours.lines:
        await theirs.add_remote_candidate(
            aioice.Candidate.from_sdp(line.removeprefix("a=candidate:"))
        )
    await theirs.add_remote_candidate(None)
    # aioice nominates as RFC 5245 allowed: it does not say ice2.
    ours.remote(theirs.local_username, theirs.local_password, ice2=False)
    ours.add([f"a=candidate:{each.to_sdp()}" for each in theirs.local_candidates])
    ours.end()
    await theirs.connect()


@pytest.mark.parametrize("controlling", [True, False], ids=["controlling", "controlled"])
@pytest.mark.parametrize("components", [1, 2])
async def test_aioice_and_we_select_one_pair_a_component(
    controlling: bool, components: int
) -> None:
    async with both(controlling=controlling, components=components) as (ours, theirs):
        await meet(ours, theirs)
        for component in range(1, components + 1):
            await ours.selected(component)
            for data in DATA:
                assert ours.send(data, component)
                assert await theirs.recvfrom() == (data, component)
                await theirs.sendto(data + data, component)
                assert await ours.receive(component) == data + data
        assert ours.agent.controlling is controlling is not theirs.ice_controlling


async def test_a_conflict_of_roles_is_resolved() -> None:
    async with both(controlling=True) as (ours, theirs):
        theirs.ice_controlling = True
        await meet(ours, theirs)
        await ours.selected()
        assert ours.send(b"data")
        assert await theirs.recv() == b"data"
        assert ours.agent.controlling is not theirs.ice_controlling
