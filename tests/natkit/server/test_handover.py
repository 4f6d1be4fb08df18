"""Messages and sockets between processes: what arrives, what is refused, what is bounded."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path as FilePath

import pytest

from natkit.address import Address
from natkit.errors import ConfigError, MalformedMessage, MisuseError, UnreachableError
from natkit.machine import Path, Transport
from natkit.server.envelope import SUPERVISOR, VERSION, Envelope, Kind, Vocabulary
from natkit.server.handover import (
    MOST_QUEUED,
    MOST_WAITING,
    Correspondence,
    Handler,
    Link,
    Parcel,
    socket_pair,
)

LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Wish:
    """A request with a bit of everything."""

    token: bytes
    client: Path
    who: str | None = None
    counts: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Gift:
    """An answer."""

    address: Address


@dataclass(frozen=True, slots=True)
class Stranger:
    """A type that stands in no vocabulary."""


VOCABULARY = Vocabulary({1: Wish, 2: Gift})
CLIENT = Path(Transport.TLS, Address("192.0.2.1", 3478), Address("2001:db8::7", 9))
WISH = Wish(b"\x00\xff\x80", CLIENT, "zoë", ((1, "a"), (2, "b")))


def defect(error: Exception) -> None:
    raise AssertionError("a handler failed") from error


@asynccontextmanager
async def two(
    handler: Handler, on_defect: Callable[[Exception], None] = defect
) -> AsyncIterator[tuple[Correspondence, Correspondence, Link, Link]]:
    """A worker 0 that asks, and a supervisor that answers by ``handler``."""

    async def silent(_: int, __: Parcel) -> None:
        return None

    ends = socket_pair()
    links: list[Link] = []

    def send(place: int, envelope: Envelope) -> None:
        links[place].send(envelope)

    worker = Correspondence(0, VOCABULARY, partial(send, 0), silent, defect)
    supervisor = Correspondence(SUPERVISOR, VOCABULARY, partial(send, 1), handler, on_defect)
    links.append(Link(ends[0], worker.receive, lambda: worker.lost(SUPERVISOR)))
    links.append(Link(ends[1], supervisor.receive, lambda: supervisor.lost(0)))
    try:
        yield worker, supervisor, links[0], links[1]
    finally:
        worker.close()
        supervisor.close()
        for link in links:
            link.close()


def open_files() -> int:
    return sum(1 for _ in FilePath("/proc/self/fd").iterdir())


class TestEnvelopes:
    """The bytes."""

    def test_what_was_written_is_read(self) -> None:
        number, contents = VOCABULARY.write(WISH)
        sent = Envelope(Kind.REQUEST, 3, SUPERVISOR, number, 77, contents, (5, 6))
        got = Envelope.parse(sent.encode(), (5, 6))
        assert got == sent
        assert VOCABULARY.read(got.type, got.contents) == WISH

    @pytest.mark.parametrize(
        "packet",
        [
            b"",
            bytes(11),
            bytes((VERSION + 1,)) + bytes(11),
            bytes((VERSION, 9)) + bytes(10),
        ],
    )
    def test_what_is_no_envelope_of_this_version_is_refused(self, packet: bytes) -> None:
        with pytest.raises(MalformedMessage):
            Envelope.parse(packet)

    @pytest.mark.parametrize(
        ("number", "contents"),
        [
            (1, b""),
            (1, b"{}"),
            (1, b'[{"token": "", "client": ["udp"]}]'),
            (1, b'[{"token": "AA==", "client": ["smoke", ["::1", 1], ["::1", 1]]}]'),
            (2, b'[{"address": ["::1", "x"]}]'),
            (9, b"[{}]"),
        ],
    )
    def test_contents_that_are_not_of_their_type_are_refused(
        self, number: int, contents: bytes
    ) -> None:
        with pytest.raises(MalformedMessage):
            VOCABULARY.read(number, contents)

    def test_only_what_stands_in_the_vocabulary_crosses(self) -> None:
        with pytest.raises(MisuseError):
            VOCABULARY.write(Stranger())


async def test_a_socket_moves_with_the_answer_and_goes_on_at_its_new_owner() -> None:
    bound = socket.socket(type=socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    address = Address(*bound.getsockname())

    async def give(sender: int, parcel: Parcel) -> Parcel:
        assert (sender, parcel.message) == (0, WISH)
        return Parcel(Gift(address), (bound.detach(),))

    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.sendto(b"before it moved", address)
        async with two(give) as (worker, *_):
            got = await worker.ask(SUPERVISOR, WISH)
        assert got.message == Gift(address)
        (descriptor,) = got.descriptors
        assert not os.get_inheritable(descriptor)
        with socket.socket(fileno=descriptor) as moved:
            moved.settimeout(LIMIT)
            assert moved.recv(100) == b"before it moved"
            peer.sendto(b"after", address)
            assert moved.recv(100) == b"after"


async def test_long_contents_cross_whole() -> None:
    long = Wish(os.urandom(3_000_000), CLIENT)

    async def give(_: int, parcel: Parcel) -> Parcel:
        return Parcel(parcel.message, parcel.descriptors)

    before = open_files()
    async with two(give) as (worker, *_):
        assert (await worker.ask(SUPERVISOR, long)).message == long
    assert open_files() == before


async def test_a_refusal_gives_its_reason() -> None:
    async def refuse(_: int, __: Parcel) -> Parcel:
        raise ConfigError("there is no such thing")

    async with two(refuse) as (worker, *_):
        with pytest.raises(UnreachableError, match="there is no such thing"):
            await worker.ask(SUPERVISOR, WISH)


async def test_a_defect_of_the_handler_is_told_and_the_asker_does_not_wait() -> None:
    defects: list[Exception] = []

    async def fail(_: int, __: Parcel) -> Parcel:
        raise ZeroDivisionError

    async with two(fail, defects.append) as (worker, *_):
        with pytest.raises(UnreachableError):
            await worker.ask(SUPERVISOR, WISH)
    assert [type(each) for each in defects] == [ZeroDivisionError]


async def test_who_ends_answers_nothing_any_more() -> None:
    asked = asyncio.Event()

    async def wait(_: int, __: Parcel) -> Parcel:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with two(wait) as (worker, _, _, link):
        waiting = asyncio.ensure_future(worker.ask(SUPERVISOR, WISH, limit=LIMIT))
        await asked.wait()
        link.close()
        with pytest.raises(UnreachableError, match="gone"):
            await waiting
        with pytest.raises(UnreachableError):
            await worker.ask(SUPERVISOR, WISH)


async def test_an_answer_that_comes_too_late_leaves_no_socket_open() -> None:
    go = asyncio.Event()

    async def slow(_: int, __: Parcel) -> Parcel:
        await go.wait()
        return Parcel(Gift(CLIENT.local), (os.open(os.devnull, os.O_RDONLY),))

    before = open_files()
    async with two(slow) as (worker, supervisor, *_):
        with pytest.raises(UnreachableError, match="no answer"):
            await worker.ask(SUPERVISOR, WISH, limit=0.01)
        go.set()
        # What is told later arrives later.
        told = asyncio.Event()

        async def hear(_: int, __: Parcel) -> None:
            told.set()

        worker._handler = hear
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        supervisor.tell(0, WISH)
        await told.wait()
    assert open_files() == before


async def test_requests_and_queues_are_bounded() -> None:
    async def never(_: int, __: Parcel) -> Parcel:
        await asyncio.Event().wait()
        raise AssertionError

    async with two(never) as (worker, *_):
        waiting = [
            asyncio.ensure_future(worker.ask(SUPERVISOR, WISH, limit=LIMIT))
            for _ in range(MOST_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(UnreachableError, match="too many"):
            await worker.ask(SUPERVISOR, WISH)
        worker.close()
        assert all(
            isinstance(each, UnreachableError)
            for each in await asyncio.gather(*waiting, return_exceptions=True)
        )
    ends = socket_pair()
    link = Link(ends[0], lambda _: None, lambda: None)
    notice = Envelope(Kind.NOTICE, 0, SUPERVISOR, 1, 0, bytes(1000))
    while len(link._queue) < MOST_QUEUED:
        link.send(notice)
    with pytest.raises(UnreachableError, match="does not read"):
        link.send(notice)
    link.close()
    ends[1].close()


async def test_a_packet_that_is_no_envelope_ends_the_link() -> None:
    ends = socket_pair()
    ended = asyncio.Event()
    link = Link(ends[0], lambda _: None, ended.set)
    ends[1].send(b"GET / HTTP/1.1")
    async with asyncio.timeout(LIMIT):
        await ended.wait()
    assert not link.is_open
    ends[1].close()
