"""Users as the machine asks for them."""

import asyncio
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from natkit.errors import ConfigError, StoreFailure
from natkit.machine import Failure
from natkit.server.stores.opening import DATABASE
from natkit.server.stores.sqlite import SqliteStore
from natkit.server.stores.static import StaticStore
from natkit.server.stores.store import UserKeys
from natkit.stun.credentials import long_term_key, user_hash
from natkit.stun.registry import PasswordAlgorithmNumber
from natkit.turn.credentials import Digest, time_limited
from stun_server.authentication import Credential
from stun_server.config import Config
from stun_server.config import Users as UserTable
from stun_server.events import FindCredential
from stun_server.shell.directory import Directory
from stun_server.shell.state import ephemeral_keys
from stun_server.shell.telling import machine_settings
from stun_server.shell.users import Found, Users, check, configured_users

REALM = "example.org"
SHA_256, MD5 = PasswordAlgorithmNumber.SHA_256, PasswordAlgorithmNumber.MD5
ANN = UserKeys.derive("ann", REALM, "secret")
NOW = 1_700_000_000.0
KEY = b64encode(bytes(32)).decode()


def hexadecimal(key: bytes | None) -> str:
    assert key is not None
    return key.hex()


class Opened:
    """Users, with what they logged."""

    def __init__(self, users: Users, log: Sequence[Mapping[str, object]]) -> None:
        self.users = users
        self.log = log

    def events(self) -> list[str]:
        return [str(line["event"]) for line in self.log]

    def at_once(self, username: str | None = None, userhash: bytes | None = None) -> Found:
        """What is answered without waiting."""
        answers: list[Found] = []
        self.users.find(FindCredential(1, REALM, username, userhash), answers.append)
        (answer,) = answers
        return answer

    async def ask(self, username: str | None = None, userhash: bytes | None = None) -> Found:
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.users.find(FindCredential(1, REALM, username, userhash), answer.set_result)
        return await answer


@asynccontextmanager
async def opened(data_dir: Path | None = None, **table: object) -> AsyncIterator[Opened]:
    checked = UserTable.model_validate({"realm": REALM, **table})
    with capture_logs() as log:
        clock = asyncio.get_running_loop().time
        users = await Users.open(checked, data_dir, structlog.get_logger(), clock)
        try:
            yield Opened(users, log)
        finally:
            await users.aclose()


async def test_a_user_is_found_by_name_and_by_hash_with_a_key_for_each_algorithm() -> None:
    async with opened(passwords={"ann": "secret"}) as rig:
        found = rig.at_once("ann")
        assert found == Credential(
            "ann",
            long_term_key("ann", REALM, "secret"),
            long_term_key("ann", REALM, "secret", SHA_256),
            realm=REALM,
        )
        assert found == rig.at_once(userhash=user_hash("ann", REALM))
        assert len(rig.users) == 1


async def test_the_users_of_the_configuration_are_at_hand() -> None:
    async with opened(passwords={"ann": "secret"}) as rig:
        assert rig.users.at_hand("ann") == rig.at_once("ann")
        assert rig.users.at_hand("bob") is None


async def test_strangers_are_not_found() -> None:
    async with opened(passwords={"ann": "secret"}) as rig:
        for name in ("bob", "", "a\x07", "1700000000:ann"):
            assert rig.at_once(name) is None
        assert rig.at_once(userhash=user_hash("bob", REALM)) is None
        assert rig.at_once() is None
    async with opened() as rig:
        assert rig.at_once("ann") is None
        assert rig.users.is_nobody


async def test_a_name_is_prepared_as_clients_prepare_it() -> None:
    # RFC 8265 §4.2: NFC, and a space for a no-break space.
    async with opened(passwords={"ju\u0308rgen\u00a0x": "secret"}) as rig:
        assert rig.at_once("j\u00fcrgen x") is not None


def test_a_name_that_cannot_be_sent_is_refused_and_its_password_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"^user 'a\\x07': ") as caught:
        configured_users(REALM, {"a\x07": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_checking_finds_what_starting_would(monkeypatch: pytest.MonkeyPatch) -> None:
    check(UserTable.model_validate({"passwords": {"ann": "x"}}))
    with pytest.raises(ConfigError, match=r"^user 'a\\x07': "):
        check(UserTable.model_validate({"passwords": {"a\x07": "x"}}))
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"natkit\[postgresql\]"):
        check(UserTable.model_validate({"store": "postgresql://db/x"}))


# Keys in place of passwords, and what is offered.


async def test_a_user_may_be_configured_by_keys() -> None:
    keys = {"md5": hexadecimal(ANN.md5), "sha256": hexadecimal(ANN.sha256)}
    async with opened(passwords={"ann": keys}) as rig:
        assert rig.at_once("ann") == Credential("ann", ANN.md5, ANN.sha256, realm=REALM)
        assert rig.users.offer.password_algorithms == (SHA_256, MD5)


async def test_an_algorithm_is_offered_only_if_every_user_has_its_key(tmp_path: Path) -> None:
    only_md5 = {"old": {"md5": hexadecimal(ANN.md5)}, "ann": "secret"}
    async with opened(passwords=only_md5) as rig:
        assert rig.users.offer.password_algorithms == (MD5,)
        (line,) = rig.log
        assert line["event"] == "password algorithm not offered"
        assert (line["algorithm"], line["users_without_key"]) == ("sha-256", 1)
    store = SqliteStore(tmp_path / DATABASE)
    await store.put(REALM, UserKeys("new", None, ANN.sha256))
    await store.put("another", UserKeys("old", ANN.md5, None))
    await store.aclose()
    async with opened(tmp_path, passwords={"ann": "secret"}) as rig:
        assert rig.users.offer.password_algorithms == (SHA_256,)
    async with opened(tmp_path, passwords=only_md5) as rig:
        assert rig.users.offer.password_algorithms == ()


async def test_only_what_is_configured_is_offered() -> None:
    async with opened(password_algorithms=["md5"], username_anonymity=False) as rig:
        assert rig.users.offer.password_algorithms == (MD5,)
        assert not rig.users.offer.username_anonymity


async def test_a_user_added_later_without_an_offered_key_is_named_in_the_log_once(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / DATABASE)
    async with opened(tmp_path) as rig:
        await store.put(REALM, UserKeys("old", ANN.md5, None))
        await store.put(REALM, UserKeys("older", ANN.md5, None))
        assert await rig.ask("old") == Credential("old", ANN.md5, None, realm=REALM)
        await rig.ask("older")
        (line,) = rig.log
        assert (line["event"], line["user"]) == ("a user without a key for sha-256", "old")
    await store.aclose()


# Time-limited credentials.


@pytest.mark.parametrize("digest", list(Digest))
async def test_a_time_limited_credential_has_the_keys_of_its_password(digest: Digest) -> None:
    made = time_limited("north", now=NOW, lifetime=60, name="ann", digest=digest)
    keys = UserKeys.derive(made.username, REALM, made.password)
    async with opened(secrets=["north"], secret_digest=digest.value) as rig:
        assert not rig.users.is_nobody
        # Whether it has expired is for the machine to say.
        assert rig.at_once(made.username) == Credential(
            "ann", keys.md5, keys.sha256, sent_as=made.username, expires=NOW + 60, realm=REALM
        )


async def test_without_a_name_the_whole_username_is_the_users() -> None:
    made = time_limited("north", now=NOW, lifetime=60)
    async with opened(secrets=["north"]) as rig:
        found = rig.at_once(made.username)
        assert isinstance(found, Credential)
        assert (found.username, found.sent_as) == (made.username, made.username)


async def test_each_secret_gives_keys_while_one_replaces_another() -> None:
    username = "1700000000:ann"
    async with opened(secrets=["new", "old", "older"]) as rig:
        found = rig.at_once(username)
    assert isinstance(found, Credential)
    passwords = [
        time_limited(secret, now=NOW - 60, lifetime=60, name="ann").password
        for secret in ("new", "old", "older")
    ]
    assert [found.md5, *(each.md5 for each in found.alternatives)] == [
        long_term_key(username, REALM, password) for password in passwords
    ]


async def test_usernames_are_not_anonymous_where_a_secret_makes_them(tmp_path: Path) -> None:
    async with opened() as rig:
        assert rig.users.offer.username_anonymity
    async with opened(secrets=["north"]) as rig:
        assert not rig.users.offer.username_anonymity
    store = SqliteStore(tmp_path / DATABASE)
    await store.add_secret(REALM, "north")
    await store.aclose()
    async with opened(tmp_path) as rig:
        assert not rig.users.offer.username_anonymity


async def test_usernames_are_not_anonymous_where_tokens_let_in() -> None:
    # RFC 7635 §4.1.1: USERNAME says there which key has sealed the token.
    async with opened(passwords={"ann": "secret"}, oauth_keys={"north": KEY}) as rig:
        assert not rig.users.offer.username_anonymity
        assert rig.users.offer.password_algorithms == (SHA_256, MD5)


async def test_each_realm_offers_what_all_of_its_own_users_can_have(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / DATABASE)
    await store.put("stored", UserKeys("old", ANN.md5, None))
    await store.put("stored", UserKeys.derive("new", "stored", "secret"))
    await store.aclose()
    realms = {
        "plain": {"passwords": {"ann": "secret"}},
        "stored": {},
        "limited": {"secrets": ["north of the river"]},
        "tokens": {"oauth_keys": {"north": KEY}},
        "old": {"password_algorithms": [], "username_anonymity": False},
    }
    config = Config.model_validate(
        {
            "users": {"realm": REALM, "passwords": {"ann": {"sha256": hexadecimal(ANN.sha256)}}},
            "realms": {
                name: {"origins": [f"https://{name}"], "users": users}
                for name, users in realms.items()
            },
        }
    )
    with capture_logs():
        clock = asyncio.get_running_loop().time
        directory = await Directory.open(config, tmp_path, structlog.get_logger(), clock)
    try:
        settings = machine_settings(config, ephemeral_keys(), (), directory, worker=0, external=())
    finally:
        await directory.aclose()
    every = (settings, *(each.settings for each in settings.realms))
    assert {each.realm: (each.password_algorithms, each.username_anonymity) for each in every} == {
        REALM: ((SHA_256,), True),
        "plain": ((SHA_256, MD5), True),
        "stored": ((MD5,), True),
        "limited": ((SHA_256, MD5), False),
        "tokens": ((SHA_256, MD5), False),
        "old": ((), False),
    }


async def test_a_name_like_a_time_is_an_ordinary_one_without_secrets() -> None:
    async with opened(passwords={"1700000000": "secret"}) as rig:
        found = rig.at_once("1700000000")
        assert isinstance(found, Credential)
        assert found.expires is None


async def test_a_configured_user_whose_name_is_a_number_stays_who_it_is() -> None:
    async with opened(passwords={"4930123456": "secret"}, secrets=["north"]) as rig:
        found = rig.at_once("4930123456")
        assert isinstance(found, Credential)
        assert found.expires is None
        other = rig.at_once("4930123457")
        assert isinstance(other, Credential)
        assert other.expires is not None


async def test_a_secret_that_comes_later_counts_and_the_log_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / DATABASE)
    async with opened(tmp_path, cache_fresh=1) as rig:
        await store.add_secret(REALM, "north")
        async with asyncio.timeout(20):
            while not rig.users._secrets.current:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert isinstance(rig.at_once("1700000000:ann"), Credential)
        assert rig.events() == ["time-limited credentials since the start"]
    await store.aclose()


# The store.


async def test_users_of_the_store_are_found_beside_those_of_the_configuration(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / DATABASE)
    bob = UserKeys.derive("bob", REALM, "secret")
    await store.put(REALM, bob)
    async with opened(tmp_path, passwords={"ann": "secret"}) as rig:
        assert len(rig.users) == 2
        assert rig.at_once("ann") is not None
        expected = Credential("bob", bob.md5, bob.sha256, realm=REALM)
        assert await rig.ask("bob") == expected
        # Known now, by either name.
        assert rig.at_once("bob") == expected
        assert rig.at_once(userhash=user_hash("bob", REALM)) == expected
        assert await rig.ask("eve") is None
        # The configuration comes first.
        await store.put(REALM, UserKeys.derive("ann", REALM, "of the store"))
        assert rig.at_once("ann") == Credential("ann", ANN.md5, ANN.sha256, realm=REALM)
    await store.aclose()


async def test_without_a_data_directory_nothing_is_kept(tmp_path: Path) -> None:
    async with opened(store="sqlite") as rig:
        assert rig.users.store_name == "none"
    async with opened(tmp_path, store="none") as rig:
        assert rig.users.store_name == "none"
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a test's own directory


class BrokenStore(StaticStore):
    """A store that is down until it is told otherwise."""

    is_down = True

    async def open(self) -> None:
        if self.is_down:
            raise StoreFailure("broken: no route")

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        await self.open()
        return await super().find(realm, userhash)


async def test_a_store_that_is_down_is_a_failure_and_not_an_unknown_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = BrokenStore(REALM, [UserKeys.derive("bob", REALM, "secret")])
    monkeypatch.setattr("stun_server.shell.users.store_at", lambda *_: store)
    async with opened(passwords={"ann": "secret"}) as rig:
        # It starts all the same, and those who need no store are served.
        assert rig.at_once("ann") is not None
        assert await rig.ask("bob") == Failure("broken: no route")
        down = [line for line in rig.log if line["event"] == "store down"]
        assert down[-1]["reason"] == "broken: no route"
        assert rig.users.counts()["store failures"] >= 2
        store.is_down = False
        rig.users._condition.answered()
        found = await rig.ask("bob")
        assert isinstance(found, Credential)
        assert rig.events()[-1] == "store back"
