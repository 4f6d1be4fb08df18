"""TLS connections under the driver, on the real loopback."""

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path as FilePath

import pytest

from natkit.address import Address
from natkit.aio.driver import Driver
from natkit.aio.tcp import StreamConnections, bind_tcp
from natkit.aio.tls import TlsClient, TlsConnections, TlsSession, client_context, server_context
from natkit.errors import MisuseError, TlsFailed, UnreachableError
from natkit.machine import ClosePath, Path, Transmit, Transport
from tests.certificates import Authority, Issued
from tests.garbage import only_collected
from tests.natkit.aio.machines import Ended, Event, Heard, Inbox, LineFraming, Result, Scripted


@pytest.fixture
def authority(tmp_path: FilePath) -> Authority:
    root = Authority(tmp_path)
    return Authority(tmp_path, "Test Intermediate", root)


class Server:
    """A machine that sends every line back in capitals, over TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.inbox = Inbox()
        self.streams = TlsConnections(LineFraming, server=context, connect_timeout=20.0)
        self.driver: Driver[Event, Result] = Driver(
            Scripted(reply=bytes.upper), self.inbox, streams=self.streams
        )
        self.address = Address("127.0.0.1", 0)

    async def listen(self) -> Address:
        sock = bind_tcp(self.address)
        await self.streams.listen(sock)
        return Address(*sock.getsockname()[:2])


@pytest.fixture
async def serve() -> AsyncIterator[list[Server]]:
    """Servers to be closed in the end."""
    servers: list[Server] = []
    yield servers
    for server in servers:
        await server.driver.aclose()


async def served(servers: list[Server], certificate: Issued, *alpn: str) -> Address:
    server = Server(server_context(certificate.files, alpn=alpn))
    servers.append(server)
    return await server.listen()


async def connected(
    remote: Address, client: TlsClient, limit: float = 20.0
) -> tuple[TlsConnections, Path]:
    streams = TlsConnections(LineFraming, client=client, connect_timeout=limit)
    try:
        return streams, await streams.connect(Transport.TLS, None, remote)
    except BaseException:
        await streams.aclose()
        raise


def root_of(authority: Authority) -> FilePath:
    assert authority.above is not None
    return authority.above.file


async def test_two_machines_talk_over_tls(serve: list[Server], authority: Authority) -> None:
    certificate = authority.issue("sip.example.org")
    remote = await served(serve, certificate, "sip/2")
    context = client_context(trust=root_of(authority), check_hostname=True, alpn=["sip/2"])
    streams, path = await connected(remote, TlsClient("sip.example.org", context))
    inbox = Inbox()
    machine = Scripted()
    driver: Driver[Event, Result] = Driver(machine, inbox, streams=streams)
    try:
        assert path.transport is Transport.TLS
        session = streams.session(path)
        assert session.version == "TLSv1.3"
        assert session.cipher.startswith("TLS_")
        assert session.alpn == "sip/2"
        assert session.certificates[0] == certificate.der
        assert len(session.certificates) == 2
        driver.run(machine.send(Transmit(b"hel", path), Transmit(b"lo\n", path)))
        assert await inbox.wait(1) == [Heard(b"HELLO\n", path)]
        driver.run(machine.emit(ClosePath(path)))
        assert (await inbox.wait(2))[1] == Ended(path)
        events = await serve[0].inbox.wait(2)
        there = Path(Transport.TLS, path.remote, path.local)
        assert events == [Heard(b"hello\n", there), Ended(there)]
    finally:
        await driver.aclose()


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    serve: list[Server], authority: Authority
) -> None:
    remote = await served(serve, authority.issue("sip.example.org", self_signed=True))
    context = client_context(trust=root_of(authority))
    with pytest.raises(TlsFailed, match="not trusted: self-signed certificate"):
        await connected(remote, TlsClient("sip.example.org", context))


async def test_an_expired_certificate_is_refused(serve: list[Server], authority: Authority) -> None:
    remote = await served(serve, authority.issue("sip.example.org", days=(-9, -1)))
    context = client_context(trust=root_of(authority))
    with pytest.raises(TlsFailed, match="certificate has expired"):
        await connected(remote, TlsClient("sip.example.org", context))


async def test_another_name_is_refused_where_the_context_checks_names(
    serve: list[Server], authority: Authority
) -> None:
    remote = await served(serve, authority.issue("other.example.org"))
    context = client_context(trust=root_of(authority), check_hostname=True)
    with pytest.raises(TlsFailed, match=r"[Hh]ostname mismatch"):
        await connected(remote, TlsClient("sip.example.org", context))


async def test_without_verification_the_certificates_can_be_looked_at(
    serve: list[Server], authority: Authority
) -> None:
    certificate = authority.issue("other.example.org", self_signed=True)
    remote = await served(serve, certificate)
    streams, path = await connected(remote, TlsClient(None, client_context(verify=False)))
    assert streams.session(path).certificates == (certificate.der,)
    await streams.aclose()
    with pytest.raises(MisuseError, match="no connection"):
        streams.session(path)


async def test_a_check_of_the_callers_own_decides_before_anything_is_sent(
    serve: list[Server], authority: Authority
) -> None:
    remote = await served(serve, authority.issue("sip.example.org"))
    seen: list[TlsSession] = []

    def refuse(session: TlsSession) -> None:
        seen.append(session)
        raise TlsFailed("not the one that was meant")

    client = TlsClient("sip.example.org", client_context(trust=root_of(authority)), refuse)
    with pytest.raises(TlsFailed, match="not the one that was meant"):
        await connected(remote, client)
    assert len(seen) == 1
    await serve[0].driver.aclose()
    assert not [event for event in serve[0].inbox.events if isinstance(event, Heard)]


async def test_a_client_may_have_to_show_a_certificate(
    serve: list[Server], authority: Authority
) -> None:
    root = root_of(authority)
    server = Server(server_context(authority.issue("sip.example.org").files, client_trust=root))
    serve.append(server)
    ours = authority.issue("client.example.org", file="client").files
    context = client_context(trust=root, certificate=ours)
    streams, path = await connected(await server.listen(), TlsClient("sip.example.org", context))
    streams.send(Transmit(b"hello\n", path))
    events = await server.inbox.wait(1)
    there = server.streams.session(Path(Transport.TLS, path.remote, path.local))
    assert len(there.certificates) == 2
    assert isinstance(events[0], Heard)
    await streams.aclose()


@pytest.mark.parametrize(
    ("shows", "alert"),
    [
        ("none", "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE"),
        ("expired", "ALERT_CERTIFICATE_EXPIRED"),
        ("unknown", "ALERT_UNKNOWN_CA"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_refused_client_hears_why_whatever_it_goes_on_sending(
    serve: list[Server], authority: Authority, shows: str, alert: str, version: ssl.TLSVersion
) -> None:
    """RFC 8446 §6.2, RFC 5246 §7.2.2."""
    server = Server(
        server_context(authority.issue("a.example").files, client_trust=root_of(authority))
    )
    serve.append(server)
    context = client_context(verify=False)
    context.maximum_version = version
    if shows != "none":
        days = (-9.0, -1.0) if shows == "expired" else (-1.0, 30.0)
        theirs = authority.issue(
            "peer.example", days=days, self_signed=shows == "unknown", file="peer"
        )
        context.load_cert_chain(*theirs.files)
    listening = bind_tcp(server.address, listen=True)
    loop = asyncio.get_running_loop()
    with listening:
        remote = Address(*listening.getsockname()[:2])

        async def come() -> bytes:
            reader, writer = await asyncio.open_connection(*remote, ssl=context)
            writer.write(b"x" * 300_000)
            try:
                return await reader.read()
            finally:
                writer.transport.abort()

        coming = asyncio.create_task(come())
        accepted, _ = await loop.sock_accept(listening)
        with pytest.raises(TlsFailed):
            await server.streams.adopt(accepted, remote)
        with pytest.raises(ssl.SSLError, match=alert):
            await coming


async def test_a_refused_client_leaves_nothing_to_the_garbage_collector(
    serve: list[Server], authority: Authority
) -> None:
    """Who is refused again and again would have us keep each handshake until it runs."""
    server = Server(
        server_context(authority.issue("a.example").files, client_trust=root_of(authority))
    )
    serve.append(server)
    context = client_context(verify=False)
    loop = asyncio.get_running_loop()
    with bind_tcp(server.address, listen=True) as listening:
        remote = Address(*listening.getsockname()[:2])
        with only_collected() as garbage:
            coming = asyncio.create_task(asyncio.open_connection(*remote, ssl=context))
            accepted, _ = await loop.sock_accept(listening)
            with pytest.raises(TlsFailed):
                await server.streams.adopt(accepted, remote)
            (reader, writer) = await coming
            with pytest.raises(ssl.SSLError):
                await reader.read()
            writer.transport.abort()
            await asyncio.sleep(0)
            gc.collect()
            left = [
                each for each in garbage if isinstance(each, ssl.SSLObject) and each.server_side
            ]
            assert not left


async def test_a_server_that_is_refused_hears_why(authority: Authority) -> None:
    context = server_context(authority.issue("sip.example.org", days=(-9, -1)).files)
    listening = bind_tcp(Address("127.0.0.1", 0), listen=True)
    listening.settimeout(20.0)

    def serve_one() -> None:
        accepted, _ = listening.accept()
        with ssl.SSLContext.wrap_socket(context, accepted, server_side=True) as secured:
            secured.recv(1)

    with listening:
        served = asyncio.create_task(asyncio.to_thread(serve_one))
        client = TlsClient("sip.example.org", client_context(trust=root_of(authority)))
        with pytest.raises(TlsFailed, match="certificate has expired"):
            await connected(Address(*listening.getsockname()[:2]), client)
        with pytest.raises(ssl.SSLError, match="ALERT_CERTIFICATE_EXPIRED"):
            await served


async def plain_server(answer: bytes | None) -> tuple[asyncio.Server, Address]:
    """Speaks no TLS: answers anything with ``answer``, says nothing for None."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                if answer is not None:
                    writer.write(answer)
                    if not answer:
                        break
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    return server, Address(*server.sockets[0].getsockname()[:2])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SIP/2.0 400 Bad Request\r\n\r\n", "what it speaks is not TLS|TLS failed"),
        (bytes(range(256)), "what it speaks is not TLS|TLS failed"),
        (b"", "ended the connection in the TLS handshake"),
        (None, "no answer in time"),
    ],
    ids=["plain", "garbage", "closing", "silent"],
)
async def test_a_server_that_speaks_no_tls_is_told_from_one_that_is_not_there(
    answer: bytes | None, words: str
) -> None:
    server, remote = await plain_server(answer)
    client = TlsClient("sip.example.org", client_context(verify=False))
    with pytest.raises(TlsFailed, match=words):
        await connected(remote, client, limit=0.3 if answer is None else 20.0)
    server.close()
    await server.wait_closed()
    with pytest.raises(UnreachableError, match="refused") as caught:
        await connected(remote, client)
    assert not isinstance(caught.value, TlsFailed)


async def test_old_versions_of_tls_are_not_spoken(authority: Authority) -> None:
    context = server_context(authority.issue("sip.example.org").files)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client_context(verify=False).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_carrier_does_what_it_was_given_the_means_for(authority: Authority) -> None:
    streams = TlsConnections(LineFraming)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        remote = Address(*sock.getsockname()[:2])
        with pytest.raises(TlsFailed, match="only accepts"):
            await streams.connect(Transport.TLS, None, remote)
        with pytest.raises(UnreachableError, match="speaks TLS only"):
            await streams.connect(Transport.TCP, None, remote)
        with pytest.raises(UnreachableError, match="speaks TCP only"):
            await StreamConnections(LineFraming).connect(Transport.TLS, None, remote)
        with pytest.raises(MisuseError, match="no context"):
            await streams.listen(sock)
    await streams.aclose()


def test_files_that_are_no_certificate_are_named(tmp_path: FilePath) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(MisuseError, match=r"empty\.pem"):
        server_context((empty, empty))
