"""Gathering at coturn over each transport, and through real proxies."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from natkit.address import Family
from natkit.aio.ice import Agent
from natkit.aio.secure import Trust
from natkit.gather import GatherSettings, Policy, ServerFailed, StunServer, TurnServer
from natkit.gather.endpoint import CandidateFound
from natkit.ice.candidate import CandidateType
from natkit.net.proxy import Proxy
from tests.certificates import Authority
from tests.peering import coturn, proxies
from tests.peering.coturn import Coturn
from tests.peering.proxies import RunningProxy

pytestmark = pytest.mark.peer("coturn")

LIMIT = 60.0
"""Seconds after which a test is taken for hanging; nothing is measured by it."""

RELAY = GatherSettings(policy=Policy.RELAY, families=frozenset({Family.IPV4}))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    files = authority.issue("127.0.0.1").files
    started = coturn.start(tmp_path_factory.mktemp("coturn"), certificate=files)
    try:
        yield started
    finally:
        started.process.stop()


def turn(server: Coturn, transport: str) -> TurnServer:
    secure = transport in ("tls", "dtls")
    address = server.secure if secure else server.address
    query = "udp" if transport in ("udp", "dtls") else "tcp"
    scheme = "turns" if secure else "turn"
    return TurnServer(f"{scheme}:{address}?transport={query}", server.username, server.password)


async def test_one_agent_gathers_over_every_transport_and_the_other_meets_it_there(
    server: Coturn, authority: Authority
) -> None:
    transports = ("udp", "tcp", "tls", "dtls")
    servers = [turn(server, each) for each in transports]
    trust = Trust(authority.file)
    async with (
        asyncio.timeout(LIMIT),
        Agent(servers, gathering=RELAY, trust=trust) as ann,
        Agent(servers[2:3], gathering=RELAY, trust=trust, controlling=False) as bob,
    ):
        anns, bobs = await asyncio.gather(ann.gather(), bob.gather())
        found = [await anext(ann) for _ in transports]
        gathered = {
            str(each.source.transport) for each in found if isinstance(each, CandidateFound)
        }
        assert gathered == set(transports)
        await asyncio.gather(ann.connect(bobs), bob.connect(anns))
        await ann.send(b"through coturn")
        assert await bob.receive() == b"through coturn"
        await asyncio.gather(ann.settle(), bob.settle())
        pair = bob.selected_pair()
        assert pair is not None
        assert pair.local.type is CandidateType.RELAYED
        # Past the pair's selection data takes a channel.
        for number in range(50):
            await bob.send(b"%d" % number)
            assert await ann.receive() == b"%d" % number


async def test_a_wrong_password_at_coturn_is_told_beside_what_its_stun_gives(
    server: Coturn,
) -> None:
    wrong = TurnServer(f"turn:{server.address}", server.username, "wrong")
    settings = GatherSettings(
        families=frozenset({Family.IPV4}), interface_filter=lambda name: name == "lo", loopback=True
    )
    async with (
        asyncio.timeout(LIMIT),
        Agent([wrong, StunServer(f"stun:{server.address}")], gathering=settings) as agent,
    ):
        await agent.gather()
        await agent.close()
        failures = [event async for event in agent if isinstance(event, ServerFailed)]
    assert [each.source.name for each in failures] == [wrong.uri]
    assert "401" in str(failures[0].error)


PROXIES = [
    pytest.param(proxies.microsocks, marks=pytest.mark.peer("microsocks"), id="microsocks"),
    pytest.param(proxies.tinyproxy, marks=pytest.mark.peer("tinyproxy"), id="tinyproxy"),
]


@pytest.mark.parametrize("start", PROXIES)
async def test_turn_over_tcp_and_tls_goes_through_a_proxy(
    server: Coturn,
    authority: Authority,
    tmp_path: Path,
    start: Callable[[Path], AbstractContextManager[RunningProxy]],
) -> None:
    servers = [turn(server, "tcp"), turn(server, "tls")]
    trust = Trust(authority.file)
    with start(tmp_path) as proxy:
        async with asyncio.timeout(LIMIT):
            async with (
                Agent(servers, gathering=RELAY, trust=trust, proxy=Proxy.parse(proxy.uri())) as ann,
                Agent([turn(server, "udp")], gathering=RELAY, controlling=False) as bob,
            ):
                anns, bobs = await asyncio.gather(ann.gather(), bob.gather())
                assert anns.count("a=candidate:") == 2
                await asyncio.gather(ann.connect(bobs), bob.connect(anns))
                await bob.send(b"behind a proxy")
                assert await ann.receive() == b"behind a proxy"
            stranger = Proxy.parse(proxy.uri(password="wrong"))
            async with Agent(servers[:1], gathering=RELAY, proxy=stranger) as eve:
                await eve.gather()
                failure = await anext(eve)
                assert isinstance(failure, ServerFailed)
                assert f"the proxy {stranger}" in str(failure.error)
