"""An allocation that moves to another worker is at one of the two, whatever fails on the way."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.aio.turn import Allocation, allocate
from natkit.errors import ErrorResponse, HandoverRefused, UnreachableError
from natkit.server.handover import Parcel, close_all
from stun_server import pending
from stun_server.config import Config
from stun_server.shell.crossing import AllocationConcluded, AskTaken, GiveAllocation
from stun_server.shell.listening import share
from stun_server.shell.parting import Parting
from stun_server.shell.place import Place
from stun_server.shell.running import RunningServer
from stun_server.shell.serving import open_configured, start
from stun_server.shell.state import ephemeral_keys
from tests.stun_server.shell.test_running import LIMIT, PASSWORD, USER, until

TICKET = b"ticket"
RELAYED = Address("127.0.0.1", 50_000)


class Neighbour:
    """The other worker, and what was taken back from it."""

    def __init__(self, silence: float = 0.0) -> None:
        self.answers: list[bool | Exception] = []
        self.asked: list[tuple[int, Address]] = []
        self.back: list[tuple[bytes, int]] = []
        self.parting = Parting(self._ask, self._take_back, silence)

    async def _ask(self, worker: int, relayed: Address) -> bool:
        self.asked.append((worker, relayed))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _take_back(self, ticket: bytes, worker: int, sockets: dict[Address, socket.socket]) -> None:
        self.back.append((ticket, worker))
        for sock in sockets.values():
            assert sock.fileno() >= 0
            sock.close()


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as made:
        yield made


def part(neighbour: Neighbour, sock: socket.socket) -> None:
    close_all(neighbour.parting.part(TICKET, 1, {RELAYED: sock}))


@pytest.mark.parametrize("taken", [False, True])
async def test_the_other_worker_says_what_became_of_it_and_is_not_asked(
    sock: socket.socket, taken: bool
) -> None:
    neighbour = Neighbour(silence=1_000.0)
    part(neighbour, sock)
    assert not neighbour.parting.concluded(TICKET, 2, taken=False)
    assert len(neighbour.parting) == 1
    assert neighbour.parting.concluded(TICKET, 1, taken=taken)
    assert not neighbour.parting.concluded(TICKET, 1, taken=not taken)
    assert neighbour.back == ([] if taken else [(TICKET, 1)])
    assert sock.fileno() < 0
    assert (len(neighbour.parting), neighbour.asked) == (0, [])


@pytest.mark.parametrize(
    ("answers", "back"),
    [
        pytest.param([True], False, id="it has it"),
        pytest.param([False], True, id="it has it not"),
        pytest.param([HandoverRefused("worker 1 is not there")], True, id="it is gone"),
        pytest.param([UnreachableError("silence")] * 3 + [True], False, id="it stood still"),
        pytest.param([UnreachableError("silence"), False], True, id="it stood still, and has not"),
    ],
)
async def test_a_worker_that_says_nothing_is_asked_until_it_is_known(
    sock: socket.socket, answers: Sequence[bool | Exception], back: bool
) -> None:
    neighbour = Neighbour()
    neighbour.answers += answers
    part(neighbour, sock)
    await until(lambda: not len(neighbour.parting))
    assert neighbour.asked == [(1, RELAYED)] * len(answers)
    assert neighbour.back == ([(TICKET, 1)] if back else [])


async def test_what_was_given_to_a_worker_that_died_is_taken_back_and_no_other(
    sock: socket.socket,
) -> None:
    neighbour = Neighbour(silence=1_000.0)
    part(neighbour, sock)
    neighbour.parting.gone(0)
    assert len(neighbour.parting) == 1
    neighbour.parting.gone(1)
    assert neighbour.back == [(TICKET, 1)]


async def test_nothing_stays_open_at_the_end(sock: socket.socket) -> None:
    neighbour = Neighbour(silence=1_000.0)
    part(neighbour, sock)
    await neighbour.parting.aclose()
    assert sock.fileno() < 0
    assert neighbour.back == []


# Two workers in this process, with a way between them on which things get lost.


class Way:
    """What each asks of the other; ``is_lost`` has an answer not arrive."""

    def __init__(self) -> None:
        self.workers: list[RunningServer] = []
        self.is_lost: Callable[[object], bool] = lambda _: False
        self.told: list[object] = []

    def post(self, own: int) -> "Post":
        return Post(self, own)


class Post:
    def __init__(self, way: Way, own: int) -> None:
        self._way = way
        self._own = own

    def tell(self, receiver: int, message: object, /) -> None:
        self._way.told.append(message)
        self._way.workers[receiver].neighbours.handle(self._own, message)

    async def ask(self, receiver: int, message: object, /) -> Parcel:
        answer = self._way.workers[receiver].neighbours.handle(self._own, message)
        assert answer is not None
        if self._way.is_lost(message):
            close_all(answer.descriptors)
            raise UnreachableError("no answer from another process within 5 seconds")
        return answer


@asynccontextmanager
async def two_workers(way: Way) -> AsyncIterator[str]:
    """They share a port; its URI."""
    config = Config.model_validate(
        {
            "listeners": {"listen": ["udp:127.0.0.1:0"]},
            "users": {"passwords": {USER: PASSWORD}},
            "policy": {"allow_peer": ["127.0.0.0/8"]},
        }
    )
    keys = ephemeral_keys()
    shared = share(open_configured(config), 2)
    for number, listeners in enumerate(shared):
        place = Place(worker=number, listeners=listeners, post=way.post(number))
        server = await start(config, keys, structlog.get_logger(), place=place)
        way.workers.append(server)
    try:
        yield f"turn:{shared[0][0].address}?transport=udp"
    finally:
        for server in way.workers:
            await server.aclose()


def sessions(way: Way) -> list[int]:
    return [worker.left for worker in way.workers]


async def passes(relay: Allocation, peer: socket.socket) -> None:
    """Data passes both ways by the channel that was bound."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LIMIT):
        await relay.send(b"there", Address(*peer.getsockname()))
        arrived = asyncio.Event()
        loop.add_reader(peer, arrived.set)
        await arrived.wait()
        loop.remove_reader(peer)
        data, source = peer.recvfrom(100)
        assert (data, Address(*source)) == (b"there", relay.relayed_address)
        peer.sendto(b"back", source)
        assert await relay.receive() == (b"back", Address(*peer.getsockname()))


async def move_to_the_other(relay: Allocation, way: Way, peer: socket.socket) -> None:
    """Move until the client's new socket leads to the other worker; what that raises passes."""
    before = sessions(way)
    while sessions(way) == before:
        await relay.move()
        await passes(relay, peer)


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with ExitStack() as stack:
        made = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


async def test_an_allocation_that_arrives_is_at_the_other_worker_alone(
    peer: socket.socket,
) -> None:
    way = Way()
    async with (
        two_workers(way) as uri,
        allocate(uri, username=USER, password=PASSWORD, mobile=True) as relay,
    ):
        await relay.bind_channel(Address(*peer.getsockname()))
        for _ in range(2):
            # There and home again.
            await move_to_the_other(relay, way, peer)
            assert sorted(sessions(way)) == [0, 1]
        told = [each for each in way.told if isinstance(each, AllocationConcluded)]
        assert [each.taken for each in told] == [True, True]


async def test_an_allocation_whose_new_worker_hears_nothing_goes_on_where_it_was(
    peer: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "PENDING_LIFETIME", 0.1)
    way = Way()
    with capture_logs() as log:
        async with (
            two_workers(way) as uri,
            allocate(uri, username=USER, password=PASSWORD, mobile=True) as relay,
        ):
            await relay.bind_channel(Address(*peer.getsockname()))
            way.is_lost = lambda message: isinstance(message, GiveAllocation)
            before = sessions(way)
            with pytest.raises(ErrorResponse) as refusal:
                await move_to_the_other(relay, way, peer)
            # Try again, it says.
            assert refusal.value.code == 500
            assert sessions(way) == before
            await passes(relay, peer)
            # The ticket is still good, too.
            way.is_lost = lambda _: False
            await move_to_the_other(relay, way, peer)
            assert sessions(way) == before[::-1]
    back = [line for line in log if line["event"] == "allocation taken back"]
    assert [line["relayed"] for line in back] == [str(relay.relayed_address)]


async def test_a_worker_tells_whether_it_has_what_it_was_given(peer: socket.socket) -> None:
    way = Way()
    async with (
        two_workers(way) as uri,
        allocate(uri, username=USER, password=PASSWORD, mobile=True) as relay,
    ):
        answers = [
            worker.neighbours.handle(5, AskTaken(relay.relayed_address)) for worker in way.workers
        ]
        found = [getattr(answer.message, "taken", None) for answer in answers if answer is not None]
        assert found == [bool(count) for count in sessions(way)]
