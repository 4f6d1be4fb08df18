"""The shell against nameservers of our own on loopback, honest and hostile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import cast

import dns.message

from natkit.address import Address
from sipdns.nameservers import MOST_SOCKETS, MOST_STRANGERS, Nameservers
from sipdns.query import QueryLimits
from sipdns.records import AddressRecord, Answer, Carrier, Question, RecordType, Status, Unanswered
from tests.sipdns.world import World

Behaviour = Callable[[bytes, bytes], list[bytes]]
"""From the query and the honest answer to the datagrams to send."""

QUESTION = Question("example.org", RecordType.A)
FOUND = Answer(Status.RECORDS, (AddressRecord("192.0.2.1", 60),))
WORLD = World("example.org A 192.0.2.1")
BRIEF = QueryLimits(first_wait=0.1, tcp_wait=0.3, whole=0.6)


class _Nameserver(asyncio.DatagramProtocol):
    def __init__(self, world: World, behaviour: Behaviour) -> None:
        self.world = world
        self.behaviour = behaviour
        self.ports: list[int] = []
        self.queries: list[bytes] = []
        self.over_tcp = 0
        self.was_asked = asyncio.Event()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.ports.append(addr[1])
        self.queries.append(data)
        self.was_asked.set()
        assert self.transport is not None
        for answer in self.behaviour(data, self.honest(data)):
            self.transport.sendto(answer, addr)

    def honest(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        assert isinstance(query, dns.message.QueryMessage)
        return self.world.response(query).to_wire(max_size=65535)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            length = int.from_bytes(await reader.readexactly(2), "big")
            answer = self.honest(await reader.readexactly(length))
            self.over_tcp += 1
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()


@contextlib.asynccontextmanager
async def nameserver(
    behaviour: Behaviour, world: World = WORLD, *, tcp: bool = True
) -> AsyncIterator[tuple[Address, _Nameserver]]:
    loop = asyncio.get_running_loop()
    while True:
        transport, server = await loop.create_datagram_endpoint(
            lambda: _Nameserver(world, behaviour), local_addr=("127.0.0.1", 0)
        )
        address = Address(*transport.get_extra_info("sockname"))
        try:
            listener = await asyncio.start_server(server.serve_tcp, *address)
            break
        except OSError:
            # Another process has that port for TCP.
            transport.close()
    if not tcp:
        listener.close()
        await listener.wait_closed()
    try:
        yield address, server
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()


def truncated(data: bytes) -> bytes:
    return data[:2] + bytes([data[2] | 0x02]) + data[3:]


async def test_an_answer_over_udp() -> None:
    async with nameserver(lambda _, honest: [honest]) as (address, server):
        assert await Nameservers([address]).ask(QUESTION) == FOUND
    assert server.over_tcp == 0


async def test_truncation_is_followed_by_tcp() -> None:
    async with nameserver(lambda _, honest: [truncated(honest)]) as (address, server):
        assert await Nameservers([address]).ask(QUESTION) == FOUND
    assert server.over_tcp == 1


async def test_answers_to_other_questions_are_ignored_and_the_true_one_is_taken() -> None:
    def forge(query: bytes, honest: bytes) -> list[bytes]:
        wrong_id = bytes([query[0] ^ 1]) + honest[1:]
        poisoned = dns.message.from_wire(honest)
        poisoned.question = dns.message.make_query("example.net", "A").question
        return [wrong_id, poisoned.to_wire(), query, b"", b"x" * 40, honest]

    async with nameserver(forge) as (address, server):
        assert await Nameservers([address]).ask(QUESTION) == FOUND
    assert len(server.queries) == 1


async def test_a_flood_of_forged_answers_moves_the_question_to_tcp() -> None:
    def flood(query: bytes, honest: bytes) -> list[bytes]:
        return [bytes([query[0] ^ 1]) + honest[1:]] * (MOST_STRANGERS + 10)

    async with nameserver(flood) as (address, server):
        assert await Nameservers([address]).ask(QUESTION) == FOUND
    assert server.over_tcp == 1


async def test_datagrams_from_elsewhere_never_arrive() -> None:
    loop = asyncio.get_running_loop()
    spoofer, _protocol = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    forged = World("example.org A 192.0.2.66")

    def answer(query: bytes, honest: bytes) -> list[bytes]:
        message = dns.message.from_wire(query)
        assert isinstance(message, dns.message.QueryMessage)
        spoofer.sendto(forged.response(message).to_wire(), ("127.0.0.1", server.ports[-1]))
        return [honest]

    with contextlib.closing(spoofer):
        async with nameserver(answer) as (address, server):
            assert await Nameservers([address]).ask(QUESTION) == FOUND


async def test_each_query_has_its_own_port_and_id() -> None:
    questions = [Question(f"h{number}.example.org", RecordType.A) for number in range(50)]
    async with nameserver(lambda _, honest: [honest]) as (address, server):
        asking = Nameservers([address])
        await asyncio.gather(*(asking.ask(one) for one in questions))
    assert len(set(server.ports)) > 45
    assert len({query[:2] for query in server.queries}) > 45


async def test_one_query_serves_all_who_ask_the_same_at_once() -> None:
    async with nameserver(lambda _, honest: [honest]) as (address, server):
        asking = Nameservers([address])
        results = await asyncio.gather(*(asking.ask(QUESTION) for _ in range(500)))
        assert results == [FOUND] * 500
        assert len(server.queries) == 1
        await asking.ask(QUESTION)
    assert len(server.queries) == 2


async def test_who_stops_waiting_takes_the_answer_from_nobody_else() -> None:
    async with nameserver(lambda *_: []) as (address, server):
        asking = Nameservers([address])
        impatient = asyncio.ensure_future(asking.ask(QUESTION))
        patient = asyncio.ensure_future(asking.ask(QUESTION))
        await server.was_asked.wait()
        impatient.cancel()
        server.behaviour = lambda _, honest: [honest]
        assert await patient == FOUND
        assert impatient.cancelled()


async def test_a_question_that_all_gave_up_is_asked_anew() -> None:
    async with nameserver(lambda *_: []) as (address, server):
        asking = Nameservers([address])
        impatient = asyncio.ensure_future(asking.ask(QUESTION))
        await server.was_asked.wait()
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        server.behaviour = lambda _, honest: [honest]
        assert await asking.ask(QUESTION) == FOUND
    assert len(server.queries) == 2


async def test_an_answer_says_how_it_came() -> None:
    async with nameserver(lambda _, honest: [truncated(honest)]) as (address, server):
        answer = await Nameservers([address]).ask(QUESTION)
    assert isinstance(answer, Answer)
    first, second = answer.attempts
    assert (first.carrier, first.outcome, first.truncated) == (Carrier.UDP, "truncated", True)
    assert answer.attempt is second
    assert (second.carrier, second.outcome, second.rcode) == (Carrier.TCP, "answered", "NOERROR")
    assert second.server == str(address)
    assert second.size == len(server.honest(server.queries[0]))
    assert second.recursion_available
    assert answer.ttl == 60


async def test_a_silent_nameserver_ends_in_a_failure() -> None:
    async with nameserver(lambda *_: [], tcp=False) as (address, server):
        result = await Nameservers([address], BRIEF).ask(QUESTION)
    assert result == Unanswered(f"no answer from {address} within 0.6 s")
    assert len(server.queries) > 1


async def test_a_silent_nameserver_is_passed_over_for_the_next() -> None:
    async with (
        nameserver(lambda *_: []) as (silent, _),
        nameserver(lambda _, honest: [honest]) as (good, _),
    ):
        assert await Nameservers([silent, good]).ask(QUESTION) == FOUND


async def test_a_port_where_nobody_listens_is_a_failure_at_once() -> None:
    async with nameserver(lambda *_: []) as (address, _):
        pass
    result = await Nameservers([address]).ask(QUESTION)
    assert result == Unanswered(f"{address}: connection refused")


async def test_truncation_without_tcp_is_a_failure() -> None:
    async with nameserver(lambda _, honest: [truncated(honest)], tcp=False) as (address, _):
        result = await Nameservers([address], BRIEF).ask(QUESTION)
    assert result == Unanswered(f"{address}: connection refused")


async def test_tcp_answers_of_64_kb_are_read() -> None:
    lines = [f"_sip._udp.example.org SRV {n} 0 5060 h{n}.example.org" for n in range(1500)]
    world = World("\n".join(lines))
    async with nameserver(lambda _, honest: [truncated(honest[:500])], world) as (address, _):
        result = await Nameservers([address]).ask(Question("_sip._udp.example.org", RecordType.SRV))
    assert isinstance(result, Answer)
    assert len(result.records) == 1500


async def test_many_questions_at_once_keep_to_the_bound_of_sockets() -> None:
    most = 0

    def count(query: bytes, honest: bytes) -> list[bytes]:
        nonlocal most
        most = max(most, _open_files())
        return [honest]

    questions = [Question(f"h{number}.example.org", RecordType.A) for number in range(1000)]
    async with nameserver(count) as (address, server):
        asking = Nameservers([address])
        before = _open_files()
        results = await asyncio.gather(*(asking.ask(one) for one in questions))
        assert _open_files() == before
    assert len(server.queries) >= 1000
    assert all(isinstance(result, Answer) for result in results)
    assert 50 < most - before <= MOST_SOCKETS


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
