"""A program of the operator's hears what becomes of sessions; relaying never waits for it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from structlog.testing import capture_logs

from natkit.address import Address
from natkit.aio.turn import allocate
from natkit.errors import ConfigError, NatkitError
from stun_server.config import Config, load
from stun_server.shell.event_delivery import BATCH, EventDelivery
from stun_server.shell.running import RunningServer
from stun_server.shell.serving import start
from stun_server.shell.session_events import Event
from stun_server.shell.state import ephemeral_keys
from tests.stun_server.shell.test_running import LIMIT, PASSWORD, USER, plain_peer, until

TOKEN = "of the hook"


class Hook:
    """A web service that takes events."""

    def __init__(self) -> None:
        self.url = ""
        self.events: list[Event] = []
        self.batches: list[int] = []
        self.shown: list[str | None] = []
        self.refuses = 0
        """So many posts are answered with 500, though they were read."""
        self.answers = asyncio.Event()
        """While it is not set nothing is answered."""
        self.answers.set()

    async def post(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization"))
        body = json.loads(await request.read())
        assert body["schema"] == 1
        await self.answers.wait()
        if self.refuses:
            self.refuses -= 1
            return web.Response(status=500)
        self.batches.append(len(body["events"]))
        self.events += body["events"]
        return web.Response(status=204)


@asynccontextmanager
async def hook(host: str = "127.0.0.1") -> AsyncIterator[Hook]:
    made = Hook()
    application = web.Application()
    application.router.add_post("/events", made.post)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    host, port, *_ = runner.addresses[0]
    made.url = f"http://{host}:{port}/events"
    try:
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[RunningServer]:
    config = Config.model_validate(
        {
            "listeners": {"listen": ["127.0.0.1:0"]},
            "users": {"passwords": {USER: PASSWORD}},
            "policy": {"allow_peer": ["127.0.0.0/8"]},
            "events": {"url": url, "token": TOKEN},
        }
    )
    server = await start(config, ephemeral_keys(), structlog.get_logger())
    try:
        yield server
    finally:
        await server.aclose()


def uri(server: RunningServer, transport: str = "udp") -> str:
    address = next(each.address for each in server.listeners if each.transport == transport)
    return f"turn:{address}?transport={transport}"


async def test_the_whole_of_a_session_is_told_with_what_it_relayed() -> None:
    async with hook() as told, serving(told.url) as server, plain_peer() as peer:
        async with allocate(uri(server), username=USER, password=PASSWORD, mobile=True) as relay:
            there = Address(*peer.getsockname())
            await relay.bind_channel(there)
            await relay.send(b"twelve bytes", there)
            async with asyncio.timeout(LIMIT):
                await asyncio.get_running_loop().sock_recv(peer, 100)
            await relay.move()
            await relay.send(b"twelve bytes", there)
            await until(lambda: "moved" in {each["event"] for each in told.events})
        await until(lambda: told.events[-1]["event"] == "closed")
        kinds = [each["event"] for each in told.events]
        assert (kinds[0], kinds[-1]) == ("opened", "closed")
        assert set(kinds[1:-1]) == {"refreshed", "moved"}
        assert {each["session"] for each in told.events} == {"0-1"}
        assert len({each["id"] for each in told.events}) == len(told.events)
        opened, closed = told.events[0], told.events[-1]
        assert (opened["user"], opened["realm"], opened["transport"]) == (USER, "natkit", "udp")
        assert opened["relayed"] == [str(relay.relayed_address)]
        assert (closed["user"], closed["reason"]) == (USER, "deleted")
        traffic = closed["traffic"]
        assert isinstance(traffic, dict)
        # What confirms a move passes beside the plane, which counts.
        assert traffic["packets_to_peers"] in {1, 2}
        assert traffic["bytes_to_peers"] == 12 * traffic["packets_to_peers"]
        assert set(told.shown) == {f"Bearer {TOKEN}"}
        assert server.counts()["events delivered"] == len(told.events)


async def test_a_session_that_ends_with_the_server_is_told_of() -> None:
    async with hook() as told:
        async with serving(told.url) as server:
            relay = allocate(uri(server, "tcp"), username=USER, password=PASSWORD)
            await relay.__aenter__()
        assert [each["event"] for each in told.events] == ["opened", "closed"]
        assert told.events[-1]["reason"] == "the server stopped"
        assert "traffic" in told.events[-1]
        with contextlib.suppress(NatkitError):
            await relay.__aexit__(None, None, None)


def event(number: int) -> Event:
    return {"id": str(number)}


@asynccontextmanager
async def delivery(told: Hook, most: int = 1_000) -> AsyncIterator[EventDelivery]:
    made = EventDelivery(told.url, None, most, structlog.get_logger())
    try:
        yield made
    finally:
        await made.aclose()


async def test_events_arrive_in_order_many_in_a_post_and_again_after_a_failure() -> None:
    with capture_logs() as log:
        async with hook() as told, delivery(told) as sending:
            told.refuses = 1
            for number in range(3 * BATCH):
                sending.put(event(number))
            await until(lambda: len(told.events) == 3 * BATCH)
            assert [each["id"] for each in told.events] == [str(n) for n in range(3 * BATCH)]
            assert max(told.batches) == BATCH
            await until(lambda: not len(sending))
            assert (sending.sent, sending.lost) == (3 * BATCH, 0)
    assert [line["event"] for line in log] == ["events do not arrive", "events arrive again"]
    assert log[0]["reason"] == "status 500"


async def test_while_nobody_answers_the_latest_wait_and_the_oldest_are_counted_as_lost() -> None:
    async with hook() as told:
        told.answers.clear()
        sending = EventDelivery(told.url, None, 100, structlog.get_logger())
        for number in range(1_000):
            sending.put(event(number))
        await until(lambda: told.shown)
        for number in range(1_000, 1_050):
            sending.put(event(number))
        assert (len(sending), sending.lost) == (100, 950)
        sending._task.cancel()
        await sending.aclose()


async def test_what_gave_way_while_it_was_sent_is_not_taken_for_what_came_after() -> None:
    async with hook() as told:
        told.answers.clear()
        sending = EventDelivery(told.url, None, 2 * BATCH, structlog.get_logger())
        for number in range(2 * BATCH):
            sending.put(event(number))
        await until(lambda: told.shown)
        for number in range(2 * BATCH, 2 * BATCH + 50):
            sending.put(event(number))
        told.answers.set()
        await until(lambda: not len(sending))
        assert {each["id"] for each in told.events} == {str(n) for n in range(2 * BATCH + 50)}
        await sending.aclose()


async def test_at_the_end_what_waits_is_sent_and_what_cannot_be_is_counted() -> None:
    async with hook() as told:
        async with delivery(told) as sending:
            sending.put(event(1))
        assert told.events == [event(1)]
    with capture_logs() as log:
        async with delivery(told) as sending:
            sending.put(event(2))
    assert [line["event"] for line in log] == ["events do not arrive", "events not sent"]
    assert log[-1]["count"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "ftp://example.org/"', "events.url: a URL like"),
        ('url = "https://"', "events.url: a URL like"),
        ('url = "https://me:mine@example.org/"', "goes into token"),
        ('token = "x"', "events: token belongs to url"),
    ],
)
def test_a_wrong_url_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(f"[events]\n{text}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert said in str(error.value)
    assert "mine" not in str(error.value)
