"""Two proxies that share one database: who is registered at one is reached from the other.

No registration that was answered by 200 is lost, whoever of proxy and database is killed.

Each phone is on a flow that nobody but its proxy can use: a connection, a WebSocket, or the way
back through a NAT, whose inside its Contact names.
"""

import asyncio
import contextlib
import os
import random
import select
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from natkit.machine import Transport
from natkit.sip import HeaderField, NameAddress, Response
from natkit.sip.kinds import CONTACT, SUPPORTED
from tests.conftest import Sized
from tests.peering.databases import DATABASES, Database
from tests.sip_proxy.process import LIMIT, SipProxyProcess
from tests.sip_proxy.registering import lost, registering
from tests.sip_proxy.shell.world import DOMAIN, Agent, Pending, agent

INSIDE = "sip:{name}@10.255.255.1:5060"
INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-{number:012}>"'
OUTBOUND = HeaderField.of(SUPPORTED, "outbound", "path")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.peer(name)) for name in ("postgresql", "redis")],
)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """As its operator is to set it up: nothing is answered before it is written."""
    running = DATABASES[request.param]()
    if running.name == "redis":
        with Redis.from_url(running.url) as redis:
            redis.config_set("appendfsync", "always")
    yield running
    running.remove()


@dataclass(frozen=True, slots=True)
class Pair:
    first: SipProxyProcess
    second: SipProxyProcess


@pytest.fixture(scope="module")
def pair(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    tables = f'[users]\nauthenticate = false\n[registrations]\nstore = "{database.url}"\n'
    directory = tmp_path_factory.mktemp("proxies")
    made = Pair(*(SipProxyProcess(directory / name, tables) for name in ("first", "second")))
    try:
        made.first.begin()
        made.second.begin()
        made.first.wait()
        made.second.wait()
        yield made
    finally:
        made.first.kill()
        made.second.kill()


async def registered(phone: Agent, number: int) -> None:
    """Register a phone with an instance of its own; over UDP it is behind a NAT."""
    is_inside = phone.path.transport is Transport.UDP
    contact = INSIDE.format(name=phone.name) if is_inside else phone.contact
    flow = f"<{contact}>;reg-id=1;{INSTANCE.format(number=number)}"
    field = HeaderField.of(CONTACT, NameAddress.parse(flow))
    asked = phone.send("REGISTER", f"sip:{DOMAIN}", field, OUTBOUND, to=f"<{phone.uri}>")
    response = await asked.final()
    assert response.status == 200, response


async def called(caller: Agent, name: str) -> Response:
    """What a call to a user comes to."""
    call: Pending = caller.call(f"sip:{name}@{DOMAIN}")
    return await call.final()


def kill(database: Database) -> None:
    """End it as ``kill -9`` does, and return when what it had started has ended too."""
    pid = database.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    database.process.stop(signal.SIGKILL)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(int(child))
            assert select.select([descriptor], [], [], LIMIT)[0]
            os.close(descriptor)


async def test_a_phone_of_one_proxy_is_reached_from_the_other(pair: Pair) -> None:
    async with AsyncExitStack() as stack:
        phones = [
            await stack.enter_async_context(agent(f"phone-{transport}", transport, address))
            for transport, address in (
                (Transport.TCP, pair.first.address),
                (Transport.WS, pair.first.websocket),
                (Transport.UDP, pair.first.address),
            )
        ]
        alice = await stack.enter_async_context(agent("alice", Transport.UDP, pair.second.address))
        for number, phone in enumerate(phones):
            await registered(phone, number)
        for phone in phones:
            assert (await called(alice, phone.name)).status == 200
            invite = await phone.got("INVITE")
            assert invite.path == phone.path, "it came by the flow of the registration"


async def test_when_a_proxy_is_killed_under_load_the_other_s_calls_go_on_and_phones_move_to_it(
    pair: Pair,
) -> None:
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(agent("bob", Transport.TCP, pair.first.address))
        carol = await stack.enter_async_context(agent("carol", Transport.TCP, pair.second.address))
        alice = await stack.enter_async_context(agent("alice", Transport.UDP, pair.second.address))
        await registered(bob, 1)
        await registered(carol, 2)
        assert (await called(alice, "bob")).status == 200
        async with (
            registering(pair.first.address, "first") as load,
            registering(pair.second.address, "second") as other,
        ):
            await load.more(30)
            pair.first.kill()
            await bob.cut()
            for _ in range(10):
                assert (await called(alice, "carol")).status == 200
            await other.more(30)
            # Nobody is left who could use the flow.
            refused = await called(alice, "bob")
            assert refused.status in {430, 480, 500, 503}, refused.status
            moved = await stack.enter_async_context(
                agent("bob", Transport.TCP, pair.second.address)
            )
            await registered(moved, 1)
            assert (await called(alice, "bob")).status == 200
            await moved.got("INVITE")
        assert other.statuses == {200}
        assert await lost(pair.second.address, load.acknowledged + other.acknowledged) == []
        await asyncio.get_running_loop().run_in_executor(None, pair.first.start)
        dave = await stack.enter_async_context(agent("dave", Transport.UDP, pair.first.address))
        assert (await called(dave, "bob")).status == 200
        assert (await called(dave, "carol")).status == 200


async def test_a_database_that_is_killed_under_load_has_kept_all_that_was_acknowledged(
    database: Database, pair: Pair
) -> None:
    loop = asyncio.get_running_loop()
    async with registering(pair.second.address, "before") as load:
        await load.more(60)
        await loop.run_in_executor(None, kill, database)
        await load.answered(500)
        await loop.run_in_executor(None, database.start)
        await load.more(60)
    assert load.statuses == {200, 500}
    assert await lost(pair.first.address, load.acknowledged) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_whoever_is_killed_again_and_again_nothing_is_lost(
    database: Database, pair: Pair, sized: Sized
) -> None:
    loop = asyncio.get_running_loop()
    chance = random.Random(20)
    acknowledged: list[str] = []
    for turn in range(sized(quick=2, full=20)):
        async with (
            registering(pair.first.address, f"first-{turn}-") as first,
            registering(pair.second.address, f"second-{turn}-") as second,
        ):
            await first.more(chance.randrange(1, 300))
            match chance.choice(["database", "first", "second"]):
                case "database":
                    await loop.run_in_executor(None, kill, database)
                    await loop.run_in_executor(None, database.start)
                    await asyncio.gather(first.more(20), second.more(20))
                case "first":
                    pair.first.kill()
                    await second.more(20)
                    await loop.run_in_executor(None, pair.first.start)
                case _:
                    pair.second.kill()
                    await first.more(20)
                    await loop.run_in_executor(None, pair.second.start)
        acknowledged += first.acknowledged + second.acknowledged
        for proxy in (pair.first, pair.second):
            assert await lost(proxy.address, acknowledged[-1000:]) == []
    assert await lost(pair.first.address, acknowledged) == []
