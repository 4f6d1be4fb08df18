"""The running proxy over every transport, on real sockets."""

import asyncio
import contextlib
import ssl
from pathlib import Path as FilePath

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from natkit.aio.tls import TlsClient, client_context
from natkit.errors import ConfigError, MisuseError
from natkit.machine import Transport
from natkit.server.certificates import CertificateFiles
from natkit.sip.kinds import RECORD_ROUTE, VIA
from sip_proxy.shell.admitting import Admitted
from sip_proxy.shell.listening import ListenAddress, open_listeners
from sip_proxy.shell.securing import Securing, TlsSettings
from sip_proxy.shell.streams import Streams, StreamSettings
from tests.certificates import Authority, Issued
from tests.sip_proxy.shell.world import DOMAIN, agent, server, serving

ALL = (Transport.UDP, Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS)
SIP = Subprotocol("sip")


@pytest.fixture
def authority(tmp_path: FilePath) -> Authority:
    return Authority(tmp_path)


def files(issued: Issued) -> CertificateFiles:
    return CertificateFiles(issued.chain, issued.key)


def secured(authority: Authority) -> StreamSettings:
    return StreamSettings(TlsSettings((files(authority.issue(DOMAIN)),), trust=authority.file))


def trusting(authority: Authority, name: str = DOMAIN) -> TlsClient:
    return TlsClient(name, client_context(trust=authority.file, check_hostname=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_each_transport_is_served_and_they_call_each_other(
    authority: Authority, host: str
) -> None:
    listen = [f"{each}:{host}:0" for each in ALL]
    tls = trusting(authority)
    async with serving(*listen, streams=secured(authority)) as served:
        for caller_speaks, callee_speaks in zip(ALL, (*ALL[1:], ALL[0]), strict=True):
            async with (
                agent("alice", caller_speaks, served.addresses[caller_speaks], tls=tls) as alice,
                agent("bob", callee_speaks, served.addresses[callee_speaks], tls=tls) as bob,
            ):
                assert (await bob.register().final()).status == 200
                answer = await alice.call(bob.uri).final()
                assert answer.status == 200
                request = (await bob.got("INVITE")).request
                vias = request.headers.get_all(VIA)
                assert [via.transport for via in vias] == [callee_speaks, caller_speaks]
                assert len(request.headers.get_all(RECORD_ROUTE)) == 2
                assert (await bob.register(expires=0).final()).status == 200


@pytest.mark.parametrize("by_tcp", [True, False])
async def test_a_long_request_for_udp_goes_by_tcp_and_by_udp_where_that_is_refused(
    by_tcp: bool,
) -> None:
    async with (
        serving("127.0.0.1:0") as served,
        server("bob", Transport.UDP) as datagrams,
        contextlib.AsyncExitStack() as stack,
        agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
    ):
        bob, there = datagrams, datagrams.path.local
        if by_tcp:
            bob = await stack.enter_async_context(server("bob", Transport.TCP, address=there))
        answer = await alice.call(f"sip:bob@{there}", body=bytes(1300)).final()
        assert answer.status == 200
        invite = await bob.got("INVITE")
        assert invite.path.transport is (Transport.TCP if by_tcp else Transport.UDP)
        assert invite.request.headers.get_all(VIA)[0].transport is invite.path.transport


async def test_a_foreign_websocket_client_registers(authority: Authority) -> None:
    register = (
        f"REGISTER sip:{DOMAIN} SIP/2.0\r\n"
        "Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks\r\n"
        f"From: <sip:alice@{DOMAIN}>;tag=a\r\nTo: <sip:alice@{DOMAIN}>\r\n"
        "Call-ID: asidkj3ss\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n"
        "Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>\r\n\r\n"
    )
    streams = secured(authority)
    context = trusting(authority).context
    async with serving("wss:127.0.0.1:0", streams=streams) as served:
        host, port = served.addresses[Transport.WSS]
        async with connect(
            f"wss://{host}:{port}/any",
            subprotocols=[SIP],
            ssl=context,
            server_hostname=DOMAIN,
        ) as client:
            assert client.subprotocol == "sip"
            await client.send(register)
            response = await client.recv()
            assert isinstance(response, str)
            assert response.startswith("SIP/2.0 200 OK\r\n")
            await client.send("\r\n\r\n")
            assert await client.recv() == "\r\n"


@pytest.mark.parametrize(
    ("origin", "offered", "status"),
    [
        ("https://phone.example.org", SIP, 101),
        (None, SIP, 101),
        ("https://elsewhere.example", SIP, 403),
        ("https://phone.example.org", Subprotocol("chat"), 400),
    ],
)
async def test_a_websocket_is_for_sip_and_for_the_pages_that_may(
    origin: str | None, offered: Subprotocol, status: int
) -> None:
    streams = StreamSettings(origins=("https://phone.example.org",))
    async with serving("ws:127.0.0.1:0", streams=streams) as served:
        host, port = served.addresses[Transport.WS]
        asked = connect(
            f"ws://{host}:{port}/",
            subprotocols=[offered],
            origin=None if origin is None else Origin(origin),
        )
        if status == 101:
            async with asked as client:
                assert client.subprotocol == "sip"
        else:
            with pytest.raises(InvalidStatus) as refused:
                await asked
            assert refused.value.response.status_code == status


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"426"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"4"),
        (b"OPTIONS sip:a SIP/2.0\r\n\r\n", b""),
        (b"\x16\x03\x01garbage\r\n\r\n", b""),
    ],
)
async def test_what_is_no_websocket_is_told_so_in_http_and_ends(
    request_: bytes, status: bytes
) -> None:
    async with serving("ws:127.0.0.1:0") as served:
        reader, writer = await asyncio.open_connection(*served.addresses[Transport.WS])
        writer.write(request_)
        answer = await reader.read()
        assert answer.partition(b" ")[2].startswith(status)
        writer.close()


async def test_each_client_is_shown_the_certificate_of_the_domain_that_it_names(
    authority: Authority,
) -> None:
    tls = TlsSettings(
        (
            files(authority.issue("example.org", file="one")),
            files(authority.issue(uris=["sip:example.com"], file="two")),
            files(authority.issue("*.example.net", file="three")),
        )
    )
    context = client_context(trust=authority.file)
    async with serving("tls:127.0.0.1:0", streams=StreamSettings(tls)) as served:
        for name, shown in (
            ("example.org", "example.org"),
            ("EXAMPLE.com", "two"),
            ("phone.example.net", "*.example.net"),
            ("a.b.example.net", "example.org"),
            ("elsewhere.example", "example.org"),
            (None, "example.org"),
        ):
            certificate = await _shown(served.addresses[Transport.TLS], context, name)
            assert certificate == shown, name


async def test_a_certificate_is_renewed_without_a_restart(
    authority: Authority, tmp_path: FilePath
) -> None:
    context = client_context(trust=authority.file)
    tls = TlsSettings((files(authority.issue("example.org")),))
    async with serving("tls:127.0.0.1:0", streams=StreamSettings(tls)) as served:
        address = served.addresses[Transport.TLS]
        assert await _shown(address, context, None) == "example.org"
        authority.issue("renewed.example.org")
        served.proxy.streams.renew(tls)
        assert await _shown(address, context, None) == "renewed.example.org"
        (tmp_path / "server.pem").write_text("nothing")
        with pytest.raises(ConfigError, match=r"server\.pem holds no certificate"):
            served.proxy.streams.renew(tls)
        with pytest.raises(MisuseError, match="need a certificate"):
            served.proxy.streams.renew(TlsSettings())
        assert await _shown(address, context, None) == "renewed.example.org"


async def _shown(address: tuple[str, int], context: ssl.SSLContext, name: str | None) -> str:
    _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=name or "")
    certificate = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    (((_, value),),) = certificate["subject"]
    return str(value)


def _unheard() -> Streams:
    return Streams(
        Admitted(), StreamSettings(), on_identified=lambda *_: None, on_pong=lambda *_: None
    )


async def test_a_listener_of_tls_without_a_certificate_is_an_error() -> None:
    (bound,) = open_listeners([ListenAddress.parse("wss:127.0.0.1:0")])
    with bound.socket, pytest.raises(MisuseError, match="a listener of wss needs a certificate"):
        _unheard().listen([bound])


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"trust": "none.pem"}, "cannot read the trusted certificates .*none.pem"),
        ({"trust": "garbage.pem"}, "garbage.pem holds no certificates in PEM"),
        ({"client_trust": "none.pem"}, "cannot read the trusted certificates .*none.pem"),
        ({"client_revoked": "none.pem"}, "cannot read the revocation lists .*none.pem"),
        ({"client_revoked": "garbage.pem"}, "garbage.pem holds no revocation list in PEM"),
    ],
)
async def test_files_that_cannot_be_used_are_named(
    authority: Authority, tmp_path: FilePath, changed: dict[str, str], line: str
) -> None:
    (tmp_path / "garbage.pem").write_text("nothing")
    paths = {name: tmp_path / file for name, file in changed.items()}
    issued = files(authority.issue(DOMAIN))
    with pytest.raises(ConfigError, match=line):
        Securing(TlsSettings((issued,), **paths))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dtls:127.0.0.1:5061", "dtls is not served, but udp, tcp, tls, ws and wss are"),
        ("quic:127.0.0.1:5061", "quic"),
    ],
)
def test_an_address_with_another_prefix_is_refused(text: str, line: str) -> None:
    with pytest.raises(MisuseError, match=line):
        ListenAddress.parse(text)


def test_an_address_that_is_taken_is_named_and_nothing_stays_bound() -> None:
    (held,) = open_listeners([ListenAddress.parse("tcp:127.0.0.1:0")])
    taken = f"tls:{held.listener.address}"
    try:
        with pytest.raises(ConfigError, match=str(held.listener.address.port)):
            open_listeners([ListenAddress.parse("udp:127.0.0.1:0"), ListenAddress.parse(taken)])
    finally:
        held.socket.close()
