"""The probe against servers that do what none should, on the real loopback."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path as FilePath

import pytest

from natkit.address import Address
from natkit.aio.tls import server_context
from natkit.locate import Target
from natkit.machine import Transport
from natkit.sip import HeaderField, Request, Response, SipFraming, parse_message
from natkit.sip.framing import Expect
from natkit.sip.kinds import ALLOW, SERVER
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from sipdns.probe import ProbeSettings, contacted, probe
from sipdns.probe_results import (
    BindingAnswer,
    Check,
    OptionsAnswer,
    ProbeResult,
    ProbeTarget,
    Protocol,
    Standing,
    printable,
)
from tests.certificates import Authority

OK, FAILED, NOT_TESTED = Standing.OK, Standing.FAILED, Standing.NOT_TESTED
PATIENT = ProbeSettings(limit=20.0)
BRIEF = ProbeSettings(limit=0.6)

Answering = Callable[[bytes], bytes | None]


def target(
    transport: Transport,
    address: Address,
    *,
    protocol: Protocol = Protocol.SIP,
    name: str = "example.org",
) -> ProbeTarget:
    return ProbeTarget(protocol, transport, address, "sip1.example.org", name)


async def result_of(target: ProbeTarget, settings: ProbeSettings = PATIENT) -> ProbeResult:
    (result,) = await probe([target], settings)
    return result


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        answer = self.answer(data)
        if answer is not None:
            self.transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def udp_server(answer: Answering) -> AsyncIterator[tuple[Address, _Datagrams]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(answer), local_addr=("127.0.0.1", 0)
    )
    try:
        yield Address(*transport.get_extra_info("sockname")), server
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def tcp_server(
    on_connection: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    certificate: tuple[FilePath, FilePath] | None = None,
) -> AsyncIterator[Address]:
    tasks: set[asyncio.Task[object]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError):
            await on_connection(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await writer.wait_closed()

    context = None if certificate is None else server_context(certificate)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        # Each ends with its connection.
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


def sip(data: bytes) -> bytes:
    request = parse_message(data)
    assert isinstance(request, Request)
    request.check()
    return bytes(Response.to(request, 200, tag="t"))


async def speak_sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    framing = SipFraming(Expect.PINGS)
    while data := await reader.read(4096):
        for message in framing.receive(data):
            writer.write(sip(message))


async def stay_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass


async def talk_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(bytes(range(256)) * 300)
    await writer.drain()
    await reader.read(4096)


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(4096)


@pytest.fixture
async def nobody() -> Address:
    """An address where nothing listens."""
    async with tcp_server(hang_up) as address:
        return address


# ── good ones ───────────────────────────────────────────────────────────────────────────────────


async def test_a_target_of_a_locator_is_asked_over_udp() -> None:
    async with udp_server(sip) as (address, server):
        found = Target(Transport.UDP, address, "sip1.example.org", "example.org")
        result = await result_of(ProbeTarget.of(found))
        assert len(server.heard) == 1
    assert result.standing is OK
    assert isinstance(result.answer, OptionsAnswer)
    assert (result.answer.status, result.answer.sent, result.answer.server) == (200, 1, None)
    assert result.connection == Check(NOT_TESTED, "UDP has no connections")
    assert result.tls.standing is NOT_TESTED


async def test_a_lost_request_is_sent_again() -> None:
    lost: list[bytes] = []

    def lossy(data: bytes) -> bytes | None:
        lost.append(data)
        return sip(data) if len(lost) > 1 else None

    async with udp_server(lossy) as (address, server):
        result = await result_of(target(Transport.UDP, address))
        assert server.heard[0] == server.heard[1]
    assert isinstance(result.answer, OptionsAnswer)
    assert result.answer.sent == 2
    assert result.answer.round_trip >= 0.5


async def test_a_stun_server_is_asked_where_it_sees_us() -> None:
    def bind(data: bytes) -> bytes:
        mapped = XorMappedAddress(Address("192.0.2.7", 77))
        return Message.parse(data).success(mapped).encode()

    async with udp_server(bind) as (address, _):
        result = await result_of(target(Transport.UDP, address, protocol=Protocol.STUN))
    assert result.standing is OK
    assert isinstance(result.answer, BindingAnswer)
    assert result.answer.mapped == Address("192.0.2.7", 77)
    assert [name for name, _ in result.checks][-1] == "Binding"


async def test_many_targets_are_asked_side_by_side_and_each_once() -> None:
    async with udp_server(sip) as (address, server), tcp_server(speak_sip) as stream:
        targets = [target(Transport.UDP, address), target(Transport.TCP, stream)] * 20
        targets += [target(Transport.UDP, address, name=f"d{n}.example.org") for n in range(40)]
        results = await probe(targets, PATIENT)
        assert [result.target for result in results] == targets
        assert {result.standing for result in results} == {OK}
        assert len(server.heard) == 41


async def test_no_targets_no_results() -> None:
    assert list(await probe([])) == []


# ── bad ones ────────────────────────────────────────────────────────────────────────────────────


async def test_where_nobody_listens_the_connection_failed(nobody: Address) -> None:
    for transport in (Transport.TCP, Transport.TLS, Transport.WS, Transport.WSS):
        result = await result_of(target(transport, nobody))
        assert result.connection.standing is FAILED
        assert "refused" in result.connection.evidence
        assert result.exchange == Check(NOT_TESTED, "there was no connection")
        assert {check.standing for _, check in result.checks} == {FAILED, NOT_TESTED}


async def test_a_silent_server_is_given_up() -> None:
    async with udp_server(lambda _: None) as (address, server):
        udp = await result_of(target(Transport.UDP, address), BRIEF)
        assert udp.exchange == Check(FAILED, "no answer within 0.6 s, asked 2 times")
        assert len(server.heard) == 2
    async with tcp_server(stay_silent) as address:
        tcp = await result_of(target(Transport.TCP, address), BRIEF)
        assert tcp.exchange == Check(FAILED, "no answer within 0.6 s")
        tls = await result_of(target(Transport.TLS, address), BRIEF)
        assert tls.connection.standing is OK
        assert tls.tls.standing is FAILED
        assert "no answer in time" in tls.tls.evidence
        assert tls.exchange == Check(NOT_TESTED, "the TLS handshake failed")


async def test_a_server_that_talks_garbage_has_failed() -> None:
    async with udp_server(lambda _: os.urandom(500)) as (address, _):
        # A busy machine too hears a message within two seconds.
        udp = await result_of(target(Transport.UDP, address), ProbeSettings(limit=2.0))
        assert udp.exchange.standing is FAILED
        assert "messages that are not SIP" in udp.exchange.evidence
    async with tcp_server(talk_garbage) as address:
        tcp = await result_of(target(Transport.TCP, address))
        assert tcp.connection.standing is OK
        assert tcp.exchange == Check(FAILED, "it closed the connection")
        tls = await result_of(target(Transport.TLS, address))
        assert (tls.connection.standing, tls.tls.standing) == (OK, FAILED)
        for transport in (Transport.WS,):
            web = await result_of(target(transport, address))
            assert (web.connection.standing, web.websocket.standing) == (OK, FAILED)
            assert web.exchange == Check(NOT_TESTED, "there was no WebSocket")


async def test_a_server_that_hangs_up_has_failed() -> None:
    async with tcp_server(hang_up) as address:
        result = await result_of(target(Transport.TCP, address))
    assert result.exchange == Check(FAILED, "it closed the connection")


async def test_a_plain_server_on_the_tls_port_is_told() -> None:
    async with tcp_server(speak_sip) as address:
        # It waits for the end of what it takes for a request.
        result = await result_of(target(Transport.TLS, address), BRIEF)
    assert result.connection.standing is OK
    assert result.tls.standing is FAILED
    assert result.chain == Check(NOT_TESTED, "the TLS handshake failed")


async def test_a_tls_server_that_speaks_no_websocket_is_examined_all_the_same(
    tmp_path: FilePath,
) -> None:
    root = Authority(tmp_path)
    certificate = root.issue("example.org")
    async with tcp_server(hang_up, certificate.files) as address:
        settings = ProbeSettings(limit=20.0, trust=root.file)
        result = await result_of(target(Transport.WSS, address), settings)
    assert (result.chain.standing, result.name.standing) == (OK, OK)
    assert result.websocket.standing is FAILED
    assert result.facts is not None
    assert result.facts.certificates[0].names == ("example.org",)


async def test_a_chain_without_its_intermediate_is_not_trusted(tmp_path: FilePath) -> None:
    root = Authority(tmp_path)
    between = Authority(tmp_path, "Between", root)
    certificate = between.issue("example.org")
    settings = ProbeSettings(limit=20.0, trust=root.file)
    async with tcp_server(speak_sip, certificate.files) as address:
        whole = await result_of(target(Transport.TLS, address), settings)
        assert whole.chain == Check(OK, "trusted; 2 certificates sent")
        unknown = await result_of(target(Transport.TLS, address))
        assert unknown.chain.standing is FAILED
    alone = certificate.chain.read_text().partition("-----END CERTIFICATE-----\n")
    certificate.chain.write_text("".join(alone[:2]))
    async with tcp_server(speak_sip, certificate.files) as address:
        part = await result_of(target(Transport.TLS, address), settings)
    assert part.chain.standing is FAILED
    assert "unable to get" in part.chain.evidence


@pytest.mark.parametrize(
    ("names", "standing"),
    [
        (("example.org",), OK),
        (("*.org",), OK),
        (("127.0.0.1",), FAILED),
        (("www.example.org",), FAILED),
    ],
)
async def test_a_stun_servers_certificate_follows_the_common_rules(
    tmp_path: FilePath, names: tuple[str, ...], standing: Standing
) -> None:
    root = Authority(tmp_path)
    async with tcp_server(hang_up, root.issue(*names).files) as address:
        result = await result_of(target(Transport.TLS, address, protocol=Protocol.STUN))
    assert result.name.standing is standing
    assert result.exchange.standing is FAILED


async def test_trusted_roots_that_cannot_be_read_test_nothing(tmp_path: FilePath) -> None:
    certificate = Authority(tmp_path).issue("example.org")
    missing = ProbeSettings(limit=20.0, trust=tmp_path / "missing.pem")
    async with tcp_server(speak_sip, certificate.files) as address:
        result = await result_of(target(Transport.TLS, address), missing)
    assert result.chain == Check(NOT_TESTED, "the trusted roots cannot be read")
    assert result.exchange.standing is OK


async def test_what_we_do_not_speak_is_not_tested() -> None:
    result = await result_of(target(Transport.SCTP, Address("192.0.2.1", 5060)))
    assert result.standing is NOT_TESTED
    assert result.exchange.evidence == "this program does not speak SCTP"


async def test_a_name_that_is_no_hosts_tests_nothing(nobody: Address) -> None:
    async with udp_server(sip) as (address, _):
        udp = await result_of(target(Transport.UDP, address, name="ex_ample.org"))
    tls = await result_of(target(Transport.TLS, nobody, name="x" * 70))
    assert udp.exchange.standing is NOT_TESTED
    assert "ex_ample.org" in udp.exchange.evidence
    assert tls.standing is NOT_TESTED
    assert "is not a server's name" in tls.tls.evidence


async def test_an_address_without_a_route_fails_and_nothing_else() -> None:
    unroutable = Address("::ffff:0:0:1", 5060)
    async with udp_server(sip) as (address, _):
        bad, good = await probe(
            [target(Transport.UDP, unroutable), target(Transport.UDP, address)], BRIEF
        )
    assert (bad.standing, good.standing) == (FAILED, OK)


async def test_whatever_a_server_says_of_itself_is_one_printable_line() -> None:
    def loud(data: bytes) -> bytes:
        request = parse_message(data)
        assert isinstance(request, Request)
        fields = [HeaderField.of(SERVER, "x\x1b[2Jy"), HeaderField.of(ALLOW, "INVITE")]
        return bytes(Response.to(request, 200, reason="\x07Hi\u202e", tag="t", fields=fields))

    async with udp_server(loud) as (address, _):
        result = await result_of(target(Transport.UDP, address))
    assert isinstance(result.answer, OptionsAnswer)
    assert result.answer.server == "x\ufffd[2Jy"
    assert result.exchange.evidence.startswith("200 \ufffdHi\ufffd after ")
    assert printable("a b") == "a b"


async def test_fields_that_cannot_be_read_are_left_out() -> None:
    def odd(data: bytes) -> bytes:
        return sip(data).replace(
            b"Content-Length", b"Allow: (\r\nServer: x\r\nServer: y\r\nContent-Length"
        )

    async with udp_server(odd) as (address, _):
        result = await result_of(target(Transport.UDP, address))
    assert isinstance(result.answer, OptionsAnswer)
    assert result.answer.allow == ()
    assert result.answer.server == "x"


def test_whom_it_would_contact_is_said_before() -> None:
    sip1 = target(Transport.UDP, Address("192.0.2.1", 5060))
    stun = ProbeTarget(
        Protocol.STUN, Transport.TLS, Address("2001:db8::1", 5349), "2001:db8::1", "example.org"
    )
    unspoken = target(Transport.SCTP, Address("192.0.2.2", 5060))
    assert contacted([sip1, stun, unspoken, sip1]) == (
        "SIP OPTIONS over UDP to 192.0.2.1:5060 (sip1.example.org)",
        "STUN Binding over TLS to [2001:db8::1]:5349",
    )
