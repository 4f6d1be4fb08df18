"""Keep-alives both ways on real sockets (RFC 5626 §3.5, RFC 7118 §6)."""

from pathlib import Path as FilePath

import pytest

from natkit.aio.tls import TlsClient, client_context
from natkit.machine import Transport
from natkit.server.certificates import CertificateFiles
from natkit.sip.framing import PING, PONG
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from sip_proxy.keeping import KeepAliveSettings
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.streams import StreamSettings
from tests.certificates import Authority
from tests.sip_proxy.shell.world import DOMAIN, agent, server, serving

CONNECTED = (Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)
OFTEN = KeepAliveSettings(connections=0.05, websockets=0.05)


@pytest.mark.parametrize("transport", CONNECTED)
async def test_a_ping_between_messages_gets_its_pong(
    tmp_path: FilePath, transport: Transport
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue(DOMAIN)
    tls = TlsSettings((CertificateFiles(issued.chain, issued.key),))
    trusting = TlsClient(DOMAIN, client_context(trust=authority.file))
    async with (
        serving(f"{transport}:127.0.0.1:0", streams=StreamSettings(tls)) as served,
        agent("alice", transport, served.addresses[transport], tls=trusting) as alice,
    ):
        for number in range(1, 4):
            alice.write(PING)
            await alice.until(lambda: len(alice.heard) == number)  # noqa: B023
            assert (await alice.send("OPTIONS", f"sip:{DOMAIN}").final()).status == 200
        assert alice.heard == [PONG] * 3


async def test_a_binding_request_is_told_where_it_came_from() -> None:
    request = Message.request(Method.BINDING, bytes(12))
    async with (
        serving("udp:127.0.0.1:0") as served,
        agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
    ):
        alice.write(request.encode())
        await alice.until(lambda: bool(alice.heard))
        response = Message.parse(alice.heard[0])
        assert response.message_class is MessageClass.SUCCESS_RESPONSE
        mapped = response.get(XorMappedAddress)
        assert mapped is not None
        assert mapped.address == alice.path.local


async def test_we_ping_whom_we_connected_to() -> None:
    async with (
        server("bob", Transport.TCP) as bob,
        serving("tcp:127.0.0.1:0", "udp:127.0.0.1:0", keep_alive=OFTEN) as served,
        agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
    ):
        uri = f"sip:bob@{bob.path.local};transport=tcp"
        assert (await alice.send("OPTIONS", uri).final()).status == 200
        bob.path = bob.received[0].path
        for number in range(1, 4):
            await bob.until(lambda: len(bob.heard) == number)  # noqa: B023
            bob.write(PONG)
        assert set(bob.heard) == {PING}
        assert (await alice.send("OPTIONS", uri).final()).status == 200
        assert len({each.path for each in bob.received}) == 1


@pytest.mark.parametrize("made", [False, True])
async def test_a_websocket_whose_pings_are_answered_stays(made: bool) -> None:
    async with (
        server("bob", Transport.WS) as bob,
        serving("ws:127.0.0.1:0", keep_alive=OFTEN) as served,
        agent("alice", Transport.WS, served.addresses[Transport.WS]) as alice,
    ):
        if made:
            uri = f"sip:bob@{bob.path.local};transport=ws"
            assert (await alice.send("OPTIONS", uri).final()).status == 200
        else:
            assert (await alice.register().final()).status == 200
        keeping = served.proxy.machine._keeping
        await served.until(lambda: len(keeping._answering) == 1 + made)
        assert (await alice.send("OPTIONS", f"sip:{DOMAIN}").final()).status == 200
        assert not alice.is_cut
