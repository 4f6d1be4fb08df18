"""DNS over TLS against servers of our own: one connection, answers out of order, idle closing."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import pytest

from natkit.address import Address
from sipdns.nameservers import Nameservers
from sipdns.query import QueryLimits
from sipdns.records import AddressRecord, Answer, Question, RecordType, Security, Unanswered
from sipdns.servers import TlsServer
from tests.certificates import Authority
from tests.sipdns.world import World

WORLD = World("\n".join(f"h{n}.example A 192.0.2.{n}" for n in range(100)))
BRIEF = QueryLimits(first_wait=0.2, tcp_wait=0.5, whole=2.0)


def honest(data: bytes) -> bytes:
    query = dns.message.from_wire(data)
    assert isinstance(query, dns.message.QueryMessage)
    answer = WORLD.response(query).to_wire()
    return len(answer).to_bytes(2, "big") + answer


@dataclass
class _Server:
    """Each connection is handled by ``behaviour``, which gets the queries one by one."""

    behaviour: Callable[["_Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    connections: int = 0
    queries: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await self.behaviour(self, reader, writer)
        writer.transport.abort()

    async def query(self, reader: asyncio.StreamReader) -> bytes:
        length = int.from_bytes(await reader.readexactly(2), "big")
        self.queries.append(await reader.readexactly(length))
        return self.queries[-1]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextlib.asynccontextmanager
async def running(server: _Server, authority: Authority) -> AsyncIterator[Nameservers]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1").files)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    address = Address(*listener.sockets[0].getsockname())
    trust = ssl.create_default_context(cafile=str(authority.file))
    async with Nameservers([TlsServer(address)], BRIEF, tls=trust) as asking:
        yield asking
    listener.close()


def question(number: int) -> Question:
    return Question(f"h{number}.example", RecordType.A)


async def test_questions_share_a_connection_and_answers_come_in_any_order(
    authority: Authority,
) -> None:
    async def backwards(
        server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            queries = [await server.query(reader) for _ in range(50)]
            for one in reversed(queries):
                writer.write(honest(one))

    server = _Server(backwards)
    async with running(server, authority) as asking:
        for _ in range(2):
            answers = await asyncio.gather(*(asking.ask(question(n)) for n in range(50)))
            for number, answer in enumerate(answers):
                assert isinstance(answer, Answer)
                assert answer.records == (AddressRecord(f"192.0.2.{number}", 60),)
    assert server.connections == 1


async def test_a_connection_that_closed_while_idle_is_made_anew(authority: Authority) -> None:
    async def once(
        server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(honest(await server.query(reader)))
        await writer.drain()
        # It closes with the next query in its hands.
        await server.query(reader)

    server = _Server(once)
    async with running(server, authority) as asking:
        for number in range(3):
            assert isinstance(await asking.ask(question(number)), Answer)
    assert server.connections == 3


@pytest.mark.parametrize("reply", [b"", b"\0\5junk!", b"\xff\xff", b"\0\0" * 100])
async def test_a_server_that_says_nothing_sensible_is_given_up(
    authority: Authority, reply: bytes
) -> None:
    async def nonsense(
        server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.query(reader)
        writer.write(reply)
        await writer.drain()

    async with running(_Server(nonsense), authority) as asking:
        answer = await asking.ask(question(1))
    assert isinstance(answer, Unanswered)
    assert "the connection was closed" in answer.reason


async def test_silence_ends_at_the_limit(authority: Authority) -> None:
    async def silent(
        server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            await server.query(reader)

    server = _Server(silent)
    async with running(server, authority) as asking:
        answer = await asking.ask(question(1))
    assert isinstance(answer, Unanswered)
    assert "within 2 s" in answer.reason
    assert server.connections == 1


async def test_a_plain_server_behind_the_port_is_no_tls(authority: Authority) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n" * 10)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    address = Address(*listener.sockets[0].getsockname())
    async with Nameservers([TlsServer(address)], BRIEF) as asking:
        answer = await asking.ask(question(1))
    listener.close()
    await listener.wait_closed()
    assert isinstance(answer, Unanswered)
    assert answer.security is Security.INDETERMINATE
    assert "TLS fails" in answer.reason
