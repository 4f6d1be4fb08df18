"""Flows kept open to Kamailio, over all that it speaks, between the messages of an application."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from natkit.aio.keepalive import KeptFlow, keep
from natkit.aio.secure import Trust
from natkit.aio.server_flow import connect_flow
from natkit.keepalive import Alive
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip.framing import SipFraming
from tests.certificates import Authority
from tests.natkit.cli.command import natkit
from tests.peering.kamailio import Kamailio
from tests.peering.plugin import StartKamailio

pytestmark = pytest.mark.peer("kamailio")

NAME = "sip.example.org"
QUICK = 0.2
TECHNIQUES = {
    Transport.UDP: "stun",
    Transport.TCP: "crlf",
    Transport.TLS: "crlf",
    Transport.WS: "websocket",
    Transport.WSS: "websocket",
}
OPTIONS = (
    "OPTIONS sip:{there} SIP/2.0\r\nVia: SIP/2.0/{transport} {here};branch=z9hG4bK{number}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:us@invalid.invalid>;tag=1\r\nTo: <sip:invalid.invalid>\r\n"
    "Call-ID: {number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest_asyncio.fixture(name="kamailio")
async def running_kamailio(
    start_kamailio: StartKamailio, authority: Authority
) -> AsyncIterator[Kamailio]:
    yield start_kamailio(authority.issue(NAME))


@pytest.mark.parametrize("transport", TECHNIQUES)
async def test_it_answers_the_keep_alives_of_every_transport(
    kamailio: Kamailio, authority: Authority, transport: Transport
) -> None:
    address = kamailio.secure if transport.is_secure else kamailio.plain
    target = Target(transport, address, NAME, NAME)
    flow = await connect_flow([target], bound=QUICK, trust=Trust(authority.file), timeout=30.0)
    async with flow:
        for _ in range(4):
            event = await anext(flow.kept)
            assert isinstance(event, Alive)
            is_stun = transport is Transport.UDP
            assert event.mapped == (flow.path.local if is_stun else None)


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.WS])
async def test_the_command_keeps_a_flow_to_it(kamailio: Kamailio, transport: Transport) -> None:
    server = f"sip:{kamailio.plain};transport={transport}"
    if transport is Transport.WS:
        server = f"ws://{kamailio.plain}/"
    ended = await natkit("keepalive", server, "--interval", "0.2", "--for", "1.5", "--json")
    assert ended.status == 0, ended.errors
    opened, *alive, last = (
        cast("dict[str, object]", json.loads(line)) for line in ended.output.splitlines()
    )
    assert opened["technique"] == TECHNIQUES[transport]
    assert len(alive) == last["answers"] != 0


async def test_pongs_lie_between_the_responses_of_a_stream(kamailio: Kamailio) -> None:
    reader, writer = await asyncio.open_connection(*kamailio.plain)
    framing = SipFraming()
    responses: list[bytes] = []
    async with keep(Transport.TCP, writer.write, bound=0.1) as flow:
        listening = asyncio.create_task(_listen(reader, framing, flow, responses))
        host, port = writer.get_extra_info("sockname")
        for number in range(20):
            writer.write(
                OPTIONS.format(
                    there=kamailio.plain, transport="TCP", here=f"{host}:{port}", number=number
                ).encode()
            )
            assert isinstance(await anext(flow), Alive)
        while len(responses) < 20:  # noqa: ASYNC110 - the task that listens tells nobody
            await asyncio.sleep(0.01)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert all(each.startswith(b"SIP/2.0 200 Alive\r\n") for each in responses)
    assert not framing.buffered
    writer.close()
    await writer.wait_closed()


async def _listen(
    reader: asyncio.StreamReader, framing: SipFraming, flow: KeptFlow, responses: list[bytes]
) -> None:
    while data := await reader.read(4096):
        responses += [each for each in framing.receive(data) if not flow.received(each)]


class _Shared(asyncio.DatagramProtocol):
    """A UDP socket for SIP and STUN."""

    def __init__(self) -> None:
        self.flow: KeptFlow | None = None
        self.responses: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, _: object) -> None:
        if self.flow is None or not self.flow.received(data):
            self.responses.put_nowait(data)


async def test_stun_and_sip_share_a_socket(kamailio: Kamailio) -> None:
    transport, shared = await asyncio.get_running_loop().create_datagram_endpoint(
        _Shared, remote_addr=kamailio.plain
    )
    here = transport.get_extra_info("sockname")
    async with keep(Transport.UDP, transport.sendto, bound=QUICK) as flow:
        shared.flow = flow
        for number in range(5):
            transport.sendto(
                OPTIONS.format(
                    there=kamailio.plain,
                    transport="UDP",
                    here=f"{here[0]}:{here[1]}",
                    number=number,
                ).encode()
            )
            assert (await shared.responses.get()).startswith(b"SIP/2.0 200 Alive\r\n")
            alive = await anext(flow)
            assert isinstance(alive, Alive)
            assert alive.mapped == here
    transport.close()
    assert shared.responses.empty()
