"""TLS, DTLS and PROXY towards clients: the running server in this process, on loopback."""

import asyncio
import signal
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as FilePath

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.aio import accepting
from natkit.aio.secure import Trust
from natkit.aio.stun import examine
from natkit.aio.tls import client_context
from natkit.aio.turn import allocate
from natkit.errors import ConfigError, UnreachableError
from natkit.machine import Transport
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.message import Message
from stun_server.config import Config
from stun_server.shell.running import RunningServer
from stun_server.shell.serving import serve, start
from stun_server.shell.state import ephemeral_keys
from tests.certificates import Authority
from tests.stun_server.shell.test_running import LIMIT, PASSWORD, USER, plain_peer, until

SECURE = ("tls", "dtls")


@pytest.fixture
def authority(tmp_path: FilePath) -> Authority:
    return Authority(tmp_path)


class Running:
    """A server and what it logged."""

    def __init__(
        self, server: RunningServer, log: Sequence[Mapping[str, object]], trust: Trust
    ) -> None:
        self.server = server
        self.trust = trust
        self._log = log

    def address(self, transport: str) -> Address:
        return next(each.address for each in self.server.listeners if each.transport == transport)

    def uri(self, transport: str) -> str:
        wanted = {"tls": "tcp", "dtls": "udp"}[transport]
        host = "localhost" if self.address(transport).host == "127.0.0.1" else "[::1]"
        return f"turns:{host}:{self.address(transport).port}?transport={wanted}"

    def lines(self, event: str) -> list[Mapping[str, object]]:
        return [line for line in self._log if line["event"] == event]


def configuration(authority: Authority, *listen: str, **listeners: object) -> Config:
    issued = authority.issue("localhost", "127.0.0.1", "::1")
    return Config.model_validate(
        {
            "listeners": {
                "listen": list(listen),
                "certificate": issued.chain,
                "key": issued.key,
                **listeners,
            },
            "users": {"passwords": {USER: PASSWORD}},
            "policy": {"allow_peer": ["127.0.0.0/8", "::1/128"]},
            "limits": {"connections_per_source": 20},
        }
    )


@asynccontextmanager
async def running(
    authority: Authority, *listen: str, **listeners: object
) -> AsyncIterator[Running]:
    wanted = listen or ("tls:127.0.0.1:0", "dtls:127.0.0.1:0")
    with capture_logs() as log:
        config = configuration(authority, *wanted, **listeners)
        server = await start(config, ephemeral_keys(), structlog.get_logger())
        try:
            yield Running(server, log, Trust(authority.file))
        finally:
            await server.aclose()
        assert not [line for line in log if line["event"] == "internal error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize("transport", SECURE)
async def test_data_passes_both_ways_by_channels_and_by_indications(
    authority: Authority, transport: str, host: str
) -> None:
    loop = asyncio.get_running_loop()
    async with (
        running(authority, f"{transport}:{host}:0", "udp:127.0.0.1:0") as server,
        plain_peer() as peer,
        allocate(
            server.uri(transport), username=USER, password=PASSWORD, trust=server.trust
        ) as relay,
    ):
        there = Address(*peer.getsockname())
        peer.connect(relay.relayed_address)
        await relay.permit(there)
        for way in ("indication", "channel"):
            if way == "channel":
                await relay.bind_channel(there)
            for size in (1, 2, 3, 4, 1200):
                await relay.send(b"x" * size, there)
                async with asyncio.timeout(LIMIT):
                    assert await loop.sock_recv(peer, 2000) == b"x" * size
                peer.send(b"y" * size)
                assert await relay.receive() == (b"y" * size, there)
        totals = server.server.totals()
        assert (totals.packets_to_peers, totals.packets_to_clients) == (10, 10)
        assert server.lines("allocation opened")[0]["transport"] == transport


@pytest.mark.parametrize("transport", SECURE)
async def test_an_allocation_that_is_deleted_leaves_nothing_behind(
    authority: Authority, transport: str
) -> None:
    async with running(authority) as server:
        async with allocate(
            server.uri(transport), username=USER, password=PASSWORD, trust=server.trust
        ):
            assert len(server.server.admission) == 1
        await until(lambda: server.lines("allocation closed"))
        assert [line["reason"] for line in server.lines("allocation closed")] == ["deleted"]
        await until(lambda: not len(server.server.admission))


@pytest.mark.parametrize("transport", SECURE)
async def test_an_allocation_moves_to_another_connection_and_takes_its_peers_along(
    authority: Authority, transport: str
) -> None:
    loop = asyncio.get_running_loop()
    async with running(authority) as server, plain_peer() as peer, asyncio.timeout(LIMIT):
        async with allocate(
            server.uri(transport),
            username=USER,
            password=PASSWORD,
            trust=server.trust,
            mobile=True,
        ) as relay:
            there, relayed = Address(*peer.getsockname()), relay.relayed_address
            peer.connect(relayed)
            await relay.permit(there)
            for number, way in enumerate(("indication", "channel", "channel"), 1):
                await relay.move()
                await until(lambda: len(server.lines("allocation moved")) == number)  # noqa: B023
                assert relay.relayed_address == relayed
                await relay.send(way.encode(), there)
                assert await loop.sock_recv(peer, 2000) == way.encode()
                peer.send(b"back")
                assert await relay.receive() == (b"back", there)
                await relay.bind_channel(there)
            moves = server.lines("allocation moved")
            assert len({line["client"] for line in moves}) == 3
        await until(lambda: not len(server.server.admission))


async def test_binding_is_answered_over_tls_and_dtls(authority: Authority) -> None:
    async with running(authority) as server:
        for transport in SECURE:
            name = f"stuns:localhost:{server.address(transport).port}"
            found = await examine(name, dtls=transport == "dtls", trust=server.trust)
            assert found.server.transport == transport
            assert found.mapped == found.local


async def test_tls_and_plain_tcp_share_a_port_that_is_named_for_both(
    authority: Authority, unused_port: int
) -> None:
    both = (f"tcp:127.0.0.1:{unused_port}", f"tls:127.0.0.1:{unused_port}")
    async with running(authority, *both) as server:
        assert server.address("tcp") == server.address("tls")
        plain = await examine(server.address("tcp"), tcp=True)
        assert plain.server.transport is Transport.TCP
        name = f"stuns:localhost:{unused_port}"
        assert (await examine(name, trust=server.trust)).mapped.host == "127.0.0.1"
        # Who says nothing belongs to neither, and is counted all the same.
        with socket.create_connection(server.address("tcp")):
            await until(lambda: len(server.server.admission) == 1)
        await until(lambda: not len(server.server.admission))


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_udp_and_dtls_do_not_share_a_port(authority: Authority, unused_port: int) -> None:
    both = (f"udp:127.0.0.1:{unused_port}", f"dtls:127.0.0.1:{unused_port}")
    with pytest.raises(ConfigError, match="cannot share"):
        async with running(authority, *both):
            pass


async def test_a_tls_port_takes_no_plain_stun(authority: Authority) -> None:
    async with running(authority) as server:
        with pytest.raises(UnreachableError):
            await examine(server.address("tls"), tcp=True)
        await until(lambda: server.server.counts()["refused connections"] == 1)
        assert not len(server.server.admission)


@pytest.mark.parametrize("alpn", ["stun.turn", "stun.nat-discovery", None])
async def test_alpn_names_the_protocol(authority: Authority, alpn: str | None) -> None:
    """RFC 7443 §3."""
    async with running(authority) as server:
        context = client_context(trust=authority.file, alpn=[alpn] if alpn else [])
        _, writer = await asyncio.open_connection(
            *server.address("tls"), ssl=context, server_hostname="localhost"
        )
        tls = writer.get_extra_info("ssl_object")
        assert isinstance(tls, ssl.SSLObject)
        assert tls.selected_alpn_protocol() == alpn
        writer.close()
        await writer.wait_closed()


async def test_tls_1_1_is_refused(authority: Authority) -> None:
    async with running(authority) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=authority.file)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError, match=r"ALERT|^$"):
            await asyncio.open_connection(
                *server.address("tls"), ssl=context, server_hostname="localhost"
            )


async def test_connections_that_never_shake_hands_are_bounded_and_ended(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "GREETING", 5)
    async with running(authority, "tls:127.0.0.1:0") as server:
        (listener,) = server.server._streams._stream_listeners
        silent = [socket.create_connection(server.address("tls")) for _ in range(12)]
        await until(lambda: listener.greeting == 5)
        # The others wait in the system's backlog, and come in as those end.
        for sock in silent[:7]:
            sock.close()
        await until(lambda: server.server.counts()["refused connections"] == 7)
        await until(lambda: listener.greeting == 5)
        for sock in silent[7:]:
            sock.close()
        await until(lambda: listener.greeting == 0)
        name = f"stuns:localhost:{server.address('tls').port}"
        assert (await examine(name, trust=server.trust)).mapped.host == "127.0.0.1"
        await until(lambda: not len(server.server.admission))


async def test_half_open_handshakes_count_against_their_source(authority: Authority) -> None:
    async with running(authority, "tls:127.0.0.1:0") as server:
        silent = [socket.create_connection(server.address("tls")) for _ in range(25)]
        await until(lambda: server.server.admission.declined == 5)
        assert len(server.server.admission) == 20
        for sock in silent:
            sock.close()
        await until(lambda: not len(server.server.admission))


async def test_a_tls_handshake_ends_in_time(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(authority, "tls:127.0.0.1:0") as server:
        server.server._streams._tls.connect_timeout = 0.2
        reader, writer = await asyncio.open_connection(*server.address("tls"))
        async with asyncio.timeout(LIMIT):
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
        writer.close()
        await until(lambda: not len(server.server.admission))


# ── the certificate ─────────────────────────────────────────────────────────────────────────────


async def test_sighup_has_the_certificate_read_again_and_keeps_allocations(
    authority: Authority,
) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[RunningServer] = loop.create_future()
    with capture_logs() as log:
        config = configuration(authority, "tls:127.0.0.1:0", "dtls:127.0.0.1:0")
        serving = loop.create_task(
            serve(config, ephemeral_keys(), structlog.get_logger(), ready.set_result)
        )
        try:
            server = Running(await ready, log, Trust(authority.file))
            async with (
                allocate(
                    server.uri("tls"), username=USER, password=PASSWORD, trust=server.trust
                ) as one,
                allocate(
                    server.uri("dtls"), username=USER, password=PASSWORD, trust=server.trust
                ) as other,
            ):
                # A wrong file changes nothing.
                key = config.listeners.key
                assert key is not None
                good = key.read_text()
                key.write_text("no key")
                signal.raise_signal(signal.SIGHUP)
                await until(lambda: server.lines("not reloaded"))
                key.write_text(good)
                authority.issue("127.0.0.1", "new.example.org")
                signal.raise_signal(signal.SIGHUP)
                await until(lambda: len(server.lines("certificate")) == 2)
                await one.permit(other.relayed_address)
                await other.permit(one.relayed_address)
                await one.send(b"still", other.relayed_address)
                assert await other.receive() == (b"still", one.relayed_address)
                for transport in SECURE:
                    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1|localhost"):
                        async with allocate(
                            server.uri(transport),
                            username=USER,
                            password=PASSWORD,
                            trust=server.trust,
                        ):
                            pass
                    new = server.uri(transport).replace("localhost", "127.0.0.1")
                    async with allocate(new, username=USER, password=PASSWORD, trust=server.trust):
                        pass
        finally:
            signal.raise_signal(signal.SIGINT)
            await serving


# ── PROXY ───────────────────────────────────────────────────────────────────────────────────────

CLIENT = Address("203.0.113.9", 4711)
TEXT = f"PROXY TCP4 {CLIENT.host} 192.0.2.1 {CLIENT.port} 3478\r\n".encode()


REQUEST = bytes.fromhex("000100002112a442") + b"transaction!"


def binary(family: int, source: str, port: int, *, command: int = 0x21, tlv: bytes = b"") -> bytes:
    host = socket.inet_pton(socket.AF_INET6 if ":" in source else socket.AF_INET, source)
    body = host + host + port.to_bytes(2, "big") + (3478).to_bytes(2, "big") + tlv
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    return signature + bytes([command, family]) + len(body).to_bytes(2, "big") + body


async def ask(
    address: Address, header: bytes, *, tls: ssl.SSLContext | None = None, pieces: int = 1000
) -> Address | None:
    """Where a Binding response says that the request came from; None if there is no answer."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, address)
    try:
        sent = header if tls else header + REQUEST
        for at in range(0, len(sent), pieces):
            await loop.sock_sendall(sock, sent[at : at + pieces])
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname="localhost" if tls else None
        )
    except OSError:
        sock.close()
        return None
    try:
        if tls:
            writer.write(REQUEST)
        async with asyncio.timeout(LIMIT):
            head = await reader.readexactly(20)
            body = await reader.readexactly(int.from_bytes(head[2:4], "big"))
    except (ConnectionResetError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.close()
    mapped = Message.parse(head + body).get(XorMappedAddress)
    return None if mapped is None else mapped.address


@pytest.mark.parametrize("pieces", [1000, 7], ids=["whole", "cut"])
async def test_a_trusted_proxy_says_who_the_client_is(authority: Authority, pieces: int) -> None:
    listen = "tcp:127.0.0.1:0", "tls:127.0.0.1:0"
    proxies = {each: ["127.0.0.0/8"] for each in listen}
    context = client_context(trust=authority.file)
    async with running(authority, *listen, proxy_protocol=proxies) as server:
        for transport, tls in (("tcp", None), ("tls", context)):
            address = server.address(transport)
            assert await ask(address, TEXT, tls=tls, pieces=pieces) == CLIENT
            header = binary(0x11, CLIENT.host, CLIENT.port, tlv=b"\x04\0\x03abc")
            assert await ask(address, header, tls=tls, pieces=pieces) == CLIENT
            header = binary(0x21, "2001:db8::9", 4711)
            found = await ask(address, header, tls=tls, pieces=pieces)
            assert found == Address("2001:db8::9", 4711)
            # A health check: the proxy is the client.
            for header in (b"PROXY UNKNOWN\r\n", binary(0x11, CLIENT.host, 1, command=0x20)):
                found = await ask(address, header, tls=tls, pieces=pieces)
                assert found is not None
                assert found.host == "127.0.0.1"
        await until(lambda: not len(server.server.admission))


async def test_without_a_header_or_from_elsewhere_nobody_is_served(authority: Authority) -> None:
    async with running(
        authority, "tcp:127.0.0.1:0", proxy_protocol={"tcp:127.0.0.1:0": ["127.0.0.0/8"]}
    ) as server:
        for header in (
            b"",
            b"PROXY TCP4 1\r\n",
            b"PROXY " + b"x" * 200,
            binary(0x12, "1.1.1.1", 1),
        ):
            assert await ask(server.address("tcp"), header) is None
        assert server.server.counts()["refused connections"] == 4
    async with running(
        authority, "tcp:127.0.0.1:0", proxy_protocol={"tcp:127.0.0.1:0": ["192.0.2.0/24"]}
    ) as server:
        assert await ask(server.address("tcp"), TEXT) is None
        assert server.server.counts()["refused connections"] == 1


async def test_clients_behind_a_proxy_are_counted_each_by_its_own_address(
    authority: Authority,
) -> None:
    listen = "tcp:127.0.0.1:0"
    async with running(authority, listen, proxy_protocol={listen: ["127.0.0.0/8"]}) as server:
        held = []
        for number in range(30):
            sock = socket.create_connection(server.address("tcp"))
            sock.sendall(binary(0x11, f"203.0.113.{number}", 1000))
            held.append(sock)
        for number in range(30):
            sock = socket.create_connection(server.address("tcp"))
            sock.sendall(binary(0x11, "198.51.100.1", 1000 + number))
            held.append(sock)
        await until(lambda: server.server.admission.declined == 10)
        assert len(server.server.admission) == 50
        for sock in held:
            sock.close()
        await until(lambda: not len(server.server.admission))
