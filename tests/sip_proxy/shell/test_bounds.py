"""What a peer on a connection cannot do: hold it for nothing, fill it, or open ever more."""

import asyncio
from pathlib import Path as FilePath

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from natkit.address import Address
from natkit.aio.tls import server_context
from natkit.locate import Target
from natkit.machine import Path, Transport
from natkit.server.certificates import CertificateFiles
from sip_proxy.config.policy import Limits
from sip_proxy.shell.admitting import Admitted
from sip_proxy.shell.securing import TlsSettings
from sip_proxy.shell.streams import StreamSettings
from tests.certificates import Authority
from tests.sip_proxy.shell.world import DOMAIN, LIMIT, agent, server, serving

OPTIONS = (
    b"OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK%d\r\n"
    b"From: <sip:a@a>;tag=a\r\nTo: <sip:example.org>\r\nCall-ID: %d\r\nCSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\nContent-Length: %d\r\n\r\n"
)
SHORT = 0.4
"""Seconds of a limit that a test waits for."""
LONGER = 2.0
"""Seconds of one that others must keep, on however slow a machine."""


def options(number: int, length: int = 0) -> bytes:
    return OPTIONS % (number, number, length)


async def response(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(LIMIT):
        return await reader.readuntil(b"\r\n\r\n")


async def at_end(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(LIMIT):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize("sent", [b"", options(1)[:40], options(1, 10) + b"12345"])
async def test_who_finishes_no_message_is_cut(sent: bytes) -> None:
    streams = StreamSettings(message_timeout=SHORT)
    async with serving("tcp:127.0.0.1:0", streams=streams) as served:
        reader, writer = await asyncio.open_connection(*served.addresses[Transport.TCP])
        writer.write(sent)
        assert await at_end(reader)
        writer.close()
        assert served.proxy.streams.overdue == 1


async def test_who_stops_after_a_message_is_cut_and_who_is_done_is_not() -> None:
    streams = StreamSettings(message_timeout=LONGER)
    async with serving("tcp:127.0.0.1:0", streams=streams) as served:
        address = served.addresses[Transport.TCP]
        patient, patient_writer = await asyncio.open_connection(*address)
        slow, slow_writer = await asyncio.open_connection(*address)
        patient_writer.write(options(1))
        slow_writer.write(options(2) + options(3)[:100])
        for reader in (patient, slow):
            assert (await response(reader)).startswith(b"SIP/2.0 200 ")
        assert await at_end(slow)
        patient_writer.write(options(4))
        assert (await response(patient)).startswith(b"SIP/2.0 200 ")
        for writer in (patient_writer, slow_writer):
            writer.close()
        assert served.proxy.streams.overdue == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
async def test_who_opens_no_websocket_is_cut(sent: bytes) -> None:
    streams = StreamSettings(message_timeout=SHORT)
    async with serving("ws:127.0.0.1:0", streams=streams) as served:
        reader, writer = await asyncio.open_connection(*served.addresses[Transport.WS])
        writer.write(sent)
        assert await at_end(reader)
        writer.close()


async def test_who_sends_no_whole_message_by_websocket_is_cut() -> None:
    streams = StreamSettings(message_timeout=LONGER)
    async with serving("ws:127.0.0.1:0", streams=streams) as served:
        host, port = served.addresses[Transport.WS]
        uri, sip = f"ws://{host}:{port}/", [Subprotocol("sip")]
        async with connect(uri, subprotocols=sip) as mute, connect(uri, subprotocols=sip) as one:
            await one.send(options(1).decode())
            assert str(await one.recv()).startswith("SIP/2.0 200 ")
            # A frame that promises 100 bytes and brings three.
            one.transport.write(b"\x81\xe4" + bytes(4) + b"abc")
            for client in (mute, one):
                async with asyncio.timeout(LIMIT):
                    await client.wait_closed()
        assert served.proxy.streams.overdue == 2


async def test_who_shakes_no_hands_is_cut(tmp_path: FilePath) -> None:
    issued = Authority(tmp_path).issue(DOMAIN)
    tls = TlsSettings((CertificateFiles(issued.chain, issued.key),))
    streams = StreamSettings(tls, handshake_timeout=SHORT)
    async with serving("tls:127.0.0.1:0", "wss:127.0.0.1:0", streams=streams) as served:
        for transport in (Transport.TLS, Transport.WSS):
            reader, writer = await asyncio.open_connection(*served.addresses[transport])
            assert await at_end(reader)
            writer.close()


async def test_who_says_nothing_any_more_is_left() -> None:
    streams = StreamSettings(idle=LONGER)
    async with serving("tcp:127.0.0.1:0", streams=streams) as served:
        reader, writer = await asyncio.open_connection(*served.addresses[Transport.TCP])
        writer.write(options(1))
        assert (await response(reader)).startswith(b"SIP/2.0 200 ")
        assert await at_end(reader)
        writer.close()
        assert served.proxy.streams.overdue == 0


async def test_a_connection_of_ours_that_has_no_use_is_closed() -> None:
    async with (
        server("bob", Transport.TCP) as bob,
        serving(
            "tcp:127.0.0.1:0", "udp:127.0.0.1:0", streams=StreamSettings(idle_made=SHORT)
        ) as served,
        agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
    ):
        uri = f"sip:bob@{bob.path.local};transport=tcp"
        assert (await alice.send("OPTIONS", uri).final()).status == 200
        await bob.cut()
        assert (await alice.send("OPTIONS", uri).final()).status == 200
        assert not served.proxy.streams.crowded_out


async def test_requests_that_come_at_once_share_a_connection_to_a_new_server() -> None:
    async with (
        server("bob", Transport.TCP) as bob,
        serving("tcp:127.0.0.1:0", "udp:127.0.0.1:0") as served,
        agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
    ):
        uri = f"sip:bob@{bob.path.local};transport=tcp"
        asked = [alice.send("OPTIONS", uri) for _ in range(20)]
        assert [(await each.final()).status for each in asked] == [200] * 20
        assert len({each.path for each in bob.received}) == 1


async def test_a_connection_that_fails_in_tls_is_told_to_the_operator(tmp_path: FilePath) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue(DOMAIN)
    tls = TlsSettings((CertificateFiles(issued.chain, issued.key),), trust=authority.file)
    context = server_context(authority.issue("other.example", file="peer").files)
    with capture_logs() as log:
        async with (
            server("bob", Transport.TLS, context=context) as bob,
            serving("tls:127.0.0.1:0", "udp:127.0.0.1:0", streams=StreamSettings(tls)) as served,
            agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
        ):
            served.names.known["peer.example"] = (
                Target(Transport.TLS, bob.path.local, "host.example", "peer.example"),
            )
            assert (await alice.send("OPTIONS", "sip:bob@peer.example").final()).status == 500
            assert served.proxy.counts()["failed connections"] == 1
    (line,) = [line for line in log if line["event"] == "cannot connect"]
    assert (line["log_level"], line["domain"]) == ("warning", "peer.example")
    assert "not for peer.example" in str(line["reason"])


async def test_no_more_connections_are_made_than_may_be() -> None:
    async with (
        server("bob", Transport.TCP) as bob,
        server("carol", Transport.TCP) as carol,
        serving(
            "tcp:127.0.0.1:0", "udp:127.0.0.1:0", streams=StreamSettings(largest_made=1)
        ) as served,
        agent("alice", Transport.UDP, served.addresses[Transport.UDP]) as alice,
    ):
        for callee, status in ((bob, 200), (carol, 500), (bob, 200)):
            uri = f"sip:{callee.name}@{callee.path.local};transport=tcp"
            assert (await alice.send("OPTIONS", uri).final()).status == status
        assert served.proxy.streams.crowded_out == 1


@pytest.mark.parametrize("length", [70_000, 1_000_000])
async def test_a_request_that_is_too_long_is_told_so_and_the_next_one_answered(
    length: int,
) -> None:
    async with serving("tcp:127.0.0.1:0") as served:
        reader, writer = await asyncio.open_connection(*served.addresses[Transport.TCP])
        writer.write(options(1, length) + bytes(length) + options(2))
        assert (await response(reader)).startswith(b"SIP/2.0 513 ")
        assert (await response(reader)).startswith(b"SIP/2.0 200 ")
        writer.close()


def path(host: str, port: int) -> Path:
    return Path(Transport.TCP, Address("192.0.2.1", 5060), Address.of(host, port))


def test_connections_are_bounded_in_all_and_by_source() -> None:
    admitted = Admitted(Limits(connections=4, connections_per_source=2))
    # An IPv6 host has its whole /64 to choose addresses from.
    first, second = path("2001:db8::1", 1), path("2001:db8::2", 2)
    assert admitted.admit(first)
    assert admitted.admit(second)
    assert not admitted.admit(path("2001:db8::3", 3))
    assert admitted.admit(path("198.51.100.1", 4))
    assert admitted.admit(path("198.51.100.2", 5))
    assert not admitted.admit(path("198.51.100.3", 6))
    assert (len(admitted), admitted.declined) == (4, 2)
    admitted.release(first)
    assert admitted.admit(path("2001:db8::3", 3))
    for number in range(1000):
        admitted.admit(path(f"203.0.113.{number % 250}", number))
    assert len(admitted._by_source) == 3


async def test_a_connection_beyond_the_bounds_is_reset() -> None:
    limits = Limits(connections_per_source=1)
    async with serving("tcp:127.0.0.1:0", limits=limits) as served:
        reader, writer = await asyncio.open_connection(*served.addresses[Transport.TCP])
        writer.write(options(1))
        assert (await response(reader)).startswith(b"SIP/2.0 200 ")
        second, second_writer = await asyncio.open_connection(*served.addresses[Transport.TCP])
        assert await at_end(second)
        second_writer.close()
        writer.write(options(2))
        assert (await response(reader)).startswith(b"SIP/2.0 200 ")
        writer.close()
