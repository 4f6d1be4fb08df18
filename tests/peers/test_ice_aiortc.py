"""aiortc on our agent, one line changed: data channels with itself and with aiortc on aioice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aioice
import pytest

pytest.importorskip("aiortc")  # belongs to requirements/dev.txt, as tests/peers.toml says

import aioice.ice
import aiortc.rtcicetransport
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection

from natkit.compat.aioice import Connection
from natkit.gather import GatherSettings

pytestmark = pytest.mark.peer("aioice", "aiortc")

LIMIT = 60.0
MESSAGES = 20
SIZE = 5_000
"""Bytes of a message: more than a packet holds, so that SCTP has to split it."""


class Loopback(Connection):
    """Meets its peer on this machine alone."""

    gathering = GatherSettings(loopback=True, interface_filter=lambda name: name == "lo")


class PlainLoopback(aioice.Connection):
    """The same of aioice, which by itself leaves 127.0.0.1 out."""

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


KINDS = {"natkit": Loopback, "aioice": PlainLoopback}


class Endpoint(RTCPeerConnection):
    """An aiortc endpoint on an agent of that kind, which it makes when it is first described."""

    def __init__(self, kind: str) -> None:
        super().__init__(RTCConfiguration(iceServers=[]))
        self.kind = KINDS[kind]


@asynccontextmanager
async def endpoints(*kinds: str) -> AsyncIterator[list[Endpoint]]:
    made = [Endpoint(kind) for kind in kinds]
    try:
        yield made
    finally:
        await asyncio.gather(*(each.close() for each in made))


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """What aiortc makes next; a test sets ``kind`` in it before it describes an endpoint."""
    choice: dict[str, type] = {"kind": Loopback}

    def make(**options: object) -> object:
        return choice["kind"](**options)

    monkeypatch.setattr(aiortc.rtcicetransport, "Connection", make)
    return choice


async def connect(one: Endpoint, other: Endpoint, chosen: dict[str, type]) -> None:
    chosen["kind"] = one.kind
    await one.setLocalDescription(await one.createOffer())
    chosen["kind"] = other.kind
    await other.setRemoteDescription(one.localDescription)
    await other.setLocalDescription(await other.createAnswer())
    await one.setRemoteDescription(other.localDescription)


async def echo(one: Endpoint, other: Endpoint, chosen: dict[str, type]) -> None:
    """A data channel opens, and all comes back in order."""
    echoed: asyncio.Queue[bytes] = asyncio.Queue()

    @other.on("datachannel")
    def answer(channel: RTCDataChannel) -> None:
        channel.on("message", channel.send)

    async with asyncio.timeout(LIMIT):
        chosen["kind"] = one.kind
        channel = one.createDataChannel("echo")
        is_open = asyncio.Event()
        channel.on("open", is_open.set)
        channel.on("message", echoed.put_nowait)
        await connect(one, other, chosen)
        await is_open.wait()
        sent = [bytes([number]) * SIZE for number in range(MESSAGES)]
        for message in sent:
            channel.send(message)
        assert [await echoed.get() for _ in sent] == sent


@pytest.mark.parametrize(
    ("offers", "answers"),
    [("natkit", "natkit"), ("natkit", "aioice"), ("aioice", "natkit")],
)
async def test_a_data_channel_opens_and_echoes(
    offers: str, answers: str, chosen: dict[str, type]
) -> None:
    async with endpoints(offers, answers) as (one, other):
        await echo(one, other, chosen)
        roles = [each.sctp.transport.transport.role for each in (one, other) if each.sctp]
        assert roles == ["controlling", "controlled"]


async def test_who_closes_ends_it_for_the_other(chosen: dict[str, type]) -> None:
    async with endpoints("natkit", "natkit") as (one, other):
        await echo(one, other, chosen)
        ended = asyncio.Event()

        @other.on("connectionstatechange")
        def changed() -> None:
            if other.connectionState in ("closed", "failed"):
                ended.set()

        await one.close()
        async with asyncio.timeout(LIMIT):
            await ended.wait()
