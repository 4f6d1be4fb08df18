"""Who the users of a proxy are, and what becomes of them while their store is down."""

import asyncio

import pytest

from natkit.errors import ConfigError, StoreFailure
from natkit.machine import Failure
from natkit.server.stores.cache import CacheTimes
from natkit.server.stores.static import StaticStore
from natkit.server.stores.store import UserKeys
from natkit.sip.digest import Algorithm, ha1
from natkit.stun.credentials import user_hash
from sip_proxy.shell.users import Secrets, Users, UserStore, keys_of

DOMAIN, OTHER = "example.org", "example.net"
ALICE = keys_of("alice", DOMAIN, "secret")
DOWN = StoreFailure("the database: it is gone")


def secrets(name: str, domain: str = DOMAIN, password: str = "secret") -> Secrets:
    return {each: ha1(name, domain, password, each) for each in Algorithm}


class FailingStore(StaticStore):
    """A store that can be taken down."""

    failure: StoreFailure | None = None

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        if self.failure is not None:
            raise self.failure
        return self.get(realm, userhash)

    async def open(self) -> None:
        if self.failure is not None:
            raise self.failure


class Stored:
    """Users of two domains in a store, its clock, and what was told of it."""

    def __init__(self, store: StaticStore) -> None:
        self.now = 1000.0
        self.told: list[StoreFailure | None] = []
        stored = UserStore(store, lambda: self.now, CacheTimes(10, 100, 5), self.told.append)
        bob = {("bob", DOMAIN): keys_of("bob", DOMAIN, "secret")}
        self.users = Users([DOMAIN, OTHER], bob, stored)

    async def find(self, name: str, domain: str = DOMAIN) -> Secrets | Failure:
        found: asyncio.Future[Secrets | Failure] = asyncio.get_running_loop().create_future()
        self.users.find(name, domain, found.set_result)
        return await found


def at_once(users: Users, name: str, domain: str) -> Secrets | Failure:
    answers: list[Secrets | Failure] = []
    users.find(name, domain, answers.append)
    (answer,) = answers
    return answer


def test_a_user_of_the_configuration_is_one_of_every_domain_with_a_key_for_each_algorithm() -> None:
    users = Users.of_passwords({"alice": "secret"}, [DOMAIN, OTHER])
    for domain in (DOMAIN, OTHER):
        assert at_once(users, "alice", domain) == secrets("alice", domain)
    assert at_once(users, "bob", DOMAIN) == {}
    assert at_once(users, "alice", "example.com") == {}


@pytest.mark.parametrize("name", ["", "al\x00ice", "\ud800"])
def test_a_name_that_no_phone_can_send_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="user "):
        keys_of(name, DOMAIN, "secret")


def test_stun_and_sip_derive_the_same_keys() -> None:
    assert UserKeys.derive("alice", DOMAIN, "secret") == ALICE
    assert UserKeys.derive("zoë", DOMAIN, "pass wörd") == keys_of("zoë", DOMAIN, "pass wörd")


async def test_a_user_of_the_store_is_one_of_its_domain_alone() -> None:
    stored = Stored(StaticStore(DOMAIN, [ALICE]))
    assert await stored.find("alice") == secrets("alice")
    assert await stored.find("alice", OTHER) == {}
    assert await stored.find("bob") == secrets("bob")
    assert await stored.find("nobody") == {}
    assert await stored.find("\x00") == {}
    await stored.users.aclose()


async def test_while_the_store_is_down_known_users_go_on_and_others_are_failures() -> None:
    store = FailingStore(DOMAIN, [ALICE, keys_of("carol", DOMAIN, "secret")])
    stored = Stored(store)
    assert await stored.find("alice") == secrets("alice")
    store.failure = DOWN
    stored.now += 50
    assert await stored.find("carol") == Failure(str(DOWN))
    assert await stored.find("alice") == secrets("alice")
    assert await stored.find("bob") == secrets("bob")
    assert stored.told == [DOWN]
    assert await came_back(stored, store) is None
    assert stored.told == [DOWN, None]
    assert stored.users.counts()["users known while the store was down"] > 0
    await stored.users.aclose()


async def came_back(stored: Stored, store: FailingStore) -> str | None:
    """Why the store is down after it has been there again."""
    assert stored.users.store_failure == str(DOWN)
    store.failure = None
    stored.now += 2
    assert await stored.find("carol") == secrets("carol")
    return stored.users.store_failure


async def test_a_changed_password_counts_once_the_known_one_is_no_longer_fresh() -> None:
    store = StaticStore(DOMAIN, [ALICE])
    stored = Stored(store)
    await stored.find("alice")
    await store.put(DOMAIN, keys_of("alice", DOMAIN, "changed"))
    stored.now += 10
    assert await stored.find("alice") == secrets("alice", password="changed")
    await store.remove(DOMAIN, "alice")
    stored.now += 10
    assert await stored.find("alice") == {}
    await stored.users.aclose()


async def test_only_what_every_user_has_a_key_for_is_offered() -> None:
    store = StaticStore(DOMAIN, [ALICE])
    await store.put(OTHER, UserKeys("old", ALICE.md5, None))
    stored = Stored(store)
    await stored.users.open()
    assert stored.users.served(tuple(Algorithm)) == (Algorithm.MD5,)
    assert stored.users.served([Algorithm.SHA_256]) == (Algorithm.SHA_256,)
    assert stored.users.lacking[Algorithm.SHA_512_256] == 1
    await stored.users.aclose()


async def test_a_store_that_is_down_is_no_reason_not_to_start() -> None:
    store = FailingStore(DOMAIN, [ALICE])
    store.failure = DOWN
    stored = Stored(store)
    await stored.users.open()
    assert stored.told == [DOWN]
    assert stored.users.served(tuple(Algorithm)) == tuple(Algorithm)
    store.failure = None
    stored.now += 2
    assert await stored.find("alice") == secrets("alice")
    assert user_hash("alice", DOMAIN) == ALICE.userhash(DOMAIN)
    await stored.users.aclose()
