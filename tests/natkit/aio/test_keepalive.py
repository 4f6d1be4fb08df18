"""Keep-alive on sockets that belong to the application."""

import asyncio
from typing import cast

import pytest

from natkit.aio.keepalive import KeptFlow, keep
from natkit.errors import MisuseError
from natkit.keepalive import PING, PONG, Alive, FlowFailed, Technique
from natkit.machine import Transport
from natkit.stun.transaction import Timing
from tests.natkit.aio.running_server import running_server

QUICK = Timing(rto=0.05, request_count=2, last_wait=1)


class Sharing(asyncio.DatagramProtocol):
    """An application's UDP socket: what is no keep-alive is its own."""

    def __init__(self) -> None:
        self.flow: KeptFlow | None = None
        self.own: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, _: object) -> None:
        if self.flow is None or not self.flow.received(data):
            self.own.put_nowait(data)


async def socket_to(host: str, port: int) -> tuple[asyncio.DatagramTransport, Sharing]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Sharing, remote_addr=(host, port))
    return transport, protocol


async def test_a_udp_flow_is_kept_on_the_applications_socket() -> None:
    async with running_server() as server:
        transport, application = await socket_to(*server.address)
        async with keep(Transport.UDP, transport.sendto) as flow:
            application.flow = flow
            event = await anext(flow)
            assert isinstance(event, Alive)
            assert event.mapped == transport.get_extra_info("sockname")
            assert 0 <= event.round_trip < 30
        assert application.own.empty()
        transport.close()


async def test_datagrams_of_the_application_pass() -> None:
    server, server_side = await socket_listening()
    transport, application = await socket_to(*server.get_extra_info("sockname"))
    async with keep(Transport.UDP, transport.sendto) as flow:
        application.flow = flow
        transport.sendto(b"hello")
        received = [await server_side.own.get(), await server_side.own.get()]
        assert received[1] == b"hello"
        assert received[0][4:8] == bytes.fromhex("2112a442")
    transport.close()
    server.close()


async def test_silence_is_a_failed_flow_and_ends_the_events() -> None:
    server, _ = await socket_listening()
    transport, _ = await socket_to(*server.get_extra_info("sockname"))
    flow = keep(Transport.UDP, transport.sendto, timing=QUICK)
    events = [event async for event in flow]
    (failed,) = events
    assert isinstance(failed, FlowFailed)
    assert "no answer to 2 Binding requests" in failed.reason
    with pytest.raises(MisuseError):
        flow.use(10.0)
    transport.close()
    server.close()


async def test_a_stream_is_kept_between_messages() -> None:
    async def edge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(4) == PING
        writer.write(PONG)
        assert await reader.read() == b""
        writer.close()

    server = await asyncio.start_server(edge, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        flow = keep(Transport.TCP, writer.write)
        assert not flow.received(b"OPTIONS sip:a@example.org SIP/2.0\r\n\r\n")
        assert flow.received(await reader.readexactly(2))
        assert isinstance(await anext(flow), Alive)
        flow.use(30.0)
        flow.disconnected()
        assert await flow.failed() == "the connection was closed"
        writer.close()
        await writer.wait_closed()


async def test_a_websocket_is_pinged_by_the_applications_means() -> None:
    pings: list[bytes] = []
    flow = keep(Transport.WSS, lambda _: None, ping=pings.append)
    (payload,) = pings
    flow.pong(b"unasked")
    flow.pong(payload)
    assert isinstance(await anext(flow), Alive)
    flow.close()
    assert [event async for event in flow] == []
    assert await flow.failed() == "it is no longer kept"


async def test_a_socket_that_refuses_to_send_is_a_lost_packet() -> None:
    def refuse(_: bytes) -> None:
        raise OSError("network is unreachable")

    flow = keep(Transport.UDP, refuse, timing=QUICK)
    assert "no answer" in await flow.failed()


@pytest.mark.parametrize(
    ("transport", "options"),
    [
        (Transport.WSS, {}),
        (Transport.SCTP, {}),
        (Transport.UDP, {"bound": -1.0}),
        (Transport.TCP, {"technique": Technique.STUN}),
    ],
)
async def test_what_does_not_go_together_is_refused(
    transport: Transport, options: dict[str, object]
) -> None:
    with pytest.raises(MisuseError):
        keep(
            transport,
            lambda _: None,
            bound=cast("float | None", options.get("bound")),
            technique=cast("Technique | None", options.get("technique")),
        )


async def socket_listening() -> tuple[asyncio.DatagramTransport, Sharing]:
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(Sharing, local_addr=("127.0.0.1", 0))
