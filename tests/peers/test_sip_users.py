"""Phones whose users stand in a real database: they register, also while it is down."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from natkit.machine import Transport
from natkit.server.stores.cache import CacheTimes
from natkit.server.stores.opening import store_at
from natkit.server.stores.store import Store, UserKeys
from natkit.sip import HeaderField, NameAddress, Response
from natkit.sip.digest import AUTHORIZATION, WWW_AUTHENTICATE, Algorithm, Challenge
from natkit.sip.kinds import CONTACT, RETRY_AFTER
from sip_proxy.shell.users import Users, UserStore, keys_of
from tests.peering.databases import DATABASES, Database
from tests.sip_proxy.shell.world import DOMAIN, Agent, Pending, Served, agent, serving


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.peer(name)) for name in DATABASES],
)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    running = DATABASES[request.param]()
    yield running
    running.remove()


class Clock:
    """Seconds that pass with every look: nothing stays fresh, and what is down is asked again."""

    now = 1000.0

    def __call__(self) -> float:
        self.now += 2.0
        return self.now


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    store = store_at(database.url, None)
    assert store is not None
    await store.open()
    for name in ("alice", "bob"):
        await store.put(DOMAIN, keys_of(name, DOMAIN, "secret"))
    yield store
    for user in await store.users(DOMAIN):
        await store.remove(DOMAIN, user.username)
    await store.aclose()


@pytest.fixture
async def served(database: Database, store: Store) -> AsyncIterator[Served]:
    own = store_at(database.url, None)
    assert own is not None
    stored = UserStore(own, Clock(), CacheTimes(fresh=1, lifetime=1e6, unknown=0))
    users = Users([DOMAIN], {}, stored)
    async with serving("udp:127.0.0.1:0", users=users, authenticate=True) as proxy:
        yield proxy


async def registered(
    served: Served, name: str, algorithm: Algorithm = Algorithm.SHA_256, password: str = "secret"
) -> Response:
    """What a phone's REGISTER comes to once it has answered the challenge."""
    async with agent(name, Transport.UDP, served.addresses[Transport.UDP]) as phone:
        asked = await _register(phone).final()
        assert asked.status == 401
        challenge = next(
            each
            for each in asked.headers.get_all(WWW_AUTHENTICATE)
            if isinstance(each, Challenge) and each.algorithm is algorithm
        )
        answer = challenge.answer(name, password, "REGISTER", f"sip:{DOMAIN}", cnonce="c")
        return await _register(phone, HeaderField.of(AUTHORIZATION, answer)).final()


def _register(phone: Agent, *fields: HeaderField) -> Pending:
    contact = HeaderField.of(CONTACT, NameAddress.parse(f"<{phone.contact}>"))
    return phone.send("REGISTER", f"sip:{DOMAIN}", contact, *fields, to=f"<{phone.uri}>")


@pytest.mark.parametrize("algorithm", list(Algorithm))
async def test_a_user_of_the_database_registers_by_each_algorithm(
    served: Served, algorithm: Algorithm
) -> None:
    assert (await registered(served, "alice", algorithm)).status == 200
    assert (await registered(served, "alice", algorithm, "wrong")).status == 401
    assert (await registered(served, "nobody", algorithm)).status == 401


async def test_a_change_in_the_database_counts(served: Served, store: Store) -> None:
    assert (await registered(served, "bob")).status == 200
    await store.put(DOMAIN, keys_of("bob", DOMAIN, "changed"))
    assert (await registered(served, "bob")).status == 401
    assert (await registered(served, "bob", password="changed")).status == 200
    await store.put(DOMAIN, UserKeys("bob", keys_of("bob", DOMAIN, "other").md5, None))
    assert (await registered(served, "bob", Algorithm.MD5, "other")).status == 200
    await store.remove(DOMAIN, "bob")
    assert (await registered(served, "bob", Algorithm.MD5, "other")).status == 401


async def test_while_the_database_is_down_known_users_register_and_others_come_back_later(
    database: Database, served: Served
) -> None:
    loop = asyncio.get_running_loop()
    assert (await registered(served, "alice")).status == 200
    await loop.run_in_executor(None, database.stop)
    assert (await registered(served, "alice")).status == 200
    assert (await registered(served, "alice", password="wrong")).status == 401
    refused = await registered(served, "bob")
    assert refused.status == 500
    later = refused.headers.get(RETRY_AFTER)
    assert later is not None
    assert later.seconds >= 5
    await loop.run_in_executor(None, database.start)
    assert (await registered(served, "bob")).status == 200
