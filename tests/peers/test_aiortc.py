"""aiortc: two WebRTC endpoints whose only candidates are relayed, by our server."""

import asyncio
from collections.abc import Iterator

import pytest

pytest.importorskip("aiortc")  # belongs to requirements/dev.txt, as tests/peers.toml says

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)

from tests.stun_server.process import PASSWORD, USER, StunServerProcess, stun_server

pytestmark = pytest.mark.peer("aiortc")

LIMIT = 60.0
MESSAGES = 50
SIZE = 5_000
"""Bytes of a message: more than a packet holds, so that SCTP has to split it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StunServerProcess]:
    with stun_server(tmp_path_factory.mktemp("stun-server")) as running:
        yield running


def endpoint(server: StunServerProcess, transport: str) -> RTCPeerConnection:
    uri = f"turn:{server.address}?transport={transport}"
    ice_server = RTCIceServer(urls=uri, username=USER, credential=PASSWORD)
    return RTCPeerConnection(
        RTCConfiguration(iceServers=[ice_server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
    )


async def connect(one: RTCPeerConnection, other: RTCPeerConnection) -> None:
    await one.setLocalDescription(await one.createOffer())
    await other.setRemoteDescription(one.localDescription)
    await other.setLocalDescription(await other.createAnswer())
    await one.setRemoteDescription(other.localDescription)


def candidates(connection: RTCPeerConnection) -> list[str]:
    lines = connection.localDescription.sdp.splitlines()
    return [line for line in lines if line.startswith("a=candidate:")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_data_channel_opens_by_relayed_candidates_alone_and_echoes(
    server: StunServerProcess, transport: str
) -> None:
    opened = server.from_now_on("allocation opened")
    one, other = endpoint(server, transport), endpoint(server, transport)
    echoed: asyncio.Queue[bytes] = asyncio.Queue()

    @other.on("datachannel")
    def answer(channel: RTCDataChannel) -> None:
        channel.on("message", channel.send)

    try:
        async with asyncio.timeout(LIMIT):
            channel = one.createDataChannel("echo")
            is_open = asyncio.Event()
            channel.on("open", is_open.set)
            channel.on("message", echoed.put_nowait)
            await connect(one, other)
            await is_open.wait()
            sent = [bytes([number]) * SIZE for number in range(MESSAGES)]
            for message in sent:
                channel.send(message)
            assert [await echoed.get() for _ in sent] == sent
        for connection in (one, other):
            assert candidates(connection)
            assert all(" typ relay " in line for line in candidates(connection))
    finally:
        await asyncio.gather(one.close(), other.close())
    await asyncio.to_thread(server.wait_until, lambda: len(opened()) == 2)
    assert {line["transport"] for line in opened()} == {transport}
