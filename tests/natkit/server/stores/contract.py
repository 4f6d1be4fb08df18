"""What every store must do, whichever software keeps it."""

import pytest

from natkit.server.stores.store import Store, Summary, UserKeys
from natkit.stun.credentials import user_hash

REALM = "example.org"
ANN = UserKeys.derive("ann", REALM, "secret")
BOB = UserKeys.derive("bob", REALM, "other")


class StoreContract:
    """A suite: a subclass gives the fixture ``store``, which is open and empty."""

    async def test_a_user_is_found_by_its_hash(self, store: Store) -> None:
        assert await store.put(REALM, ANN) is True
        assert await store.find(REALM, user_hash("ann", REALM)) == ANN
        assert await store.find(REALM, user_hash("bob", REALM)) is None

    async def test_a_user_of_one_realm_is_nobody_in_another(self, store: Store) -> None:
        await store.put(REALM, ANN)
        assert await store.find("other.example", ANN.userhash(REALM)) is None
        assert await store.find("other.example", user_hash("ann", "other.example")) is None
        assert await store.users("other.example") == []
        # Nor in one that differs in case alone.
        assert await store.find(REALM.upper(), ANN.userhash(REALM)) is None
        assert await store.users(REALM.upper()) == []

    async def test_to_put_a_user_again_replaces_its_keys(self, store: Store) -> None:
        await store.put(REALM, ANN)
        changed = UserKeys.derive("ann", REALM, "changed")
        assert await store.put(REALM, changed) is False
        assert await store.find(REALM, ANN.userhash(REALM)) == changed
        assert await store.users(REALM) == [changed]

    async def test_a_removed_user_is_gone(self, store: Store) -> None:
        await store.put(REALM, ANN)
        await store.put(REALM, BOB)
        assert await store.remove(REALM, "ann") is True
        assert await store.remove(REALM, "ann") is False
        assert await store.find(REALM, ANN.userhash(REALM)) is None
        assert await store.users(REALM) == [BOB]

    async def test_users_are_listed_by_name(self, store: Store) -> None:
        names = ["Zoë", "ann", "bob", "zoë", "Ann"]
        for name in names:
            assert await store.put(REALM, UserKeys.derive(name, REALM, "secret"))
        assert [user.username for user in await store.users(REALM)] == sorted(names)

    async def test_names_that_look_alike_are_different_users(self, store: Store) -> None:
        names = ["ann", "ANN", "änn", "ann ", "a'; --", "😀", "x" * 500, "ß", "ss"]
        for name in names:
            await store.put(REALM, UserKeys.derive(name, REALM, name))
        for name in names:
            expected = UserKeys.derive(name, REALM, name)
            assert await store.find(REALM, user_hash(name, REALM)) == expected
        assert await store.summary(REALM) == Summary(len(names), 0, 0, 0)

    async def test_a_user_may_lack_a_key_and_the_summary_counts_it(self, store: Store) -> None:
        assert await store.summary(REALM) == Summary(0, 0, 0, 0)
        only_md5 = UserKeys("old", ANN.md5, None)
        only_sha256 = UserKeys("new", None, ANN.sha256)
        only_sha512_256 = UserKeys("newest", None, None, ANN.sha512_256)
        nothing = UserKeys("locked", None, None)
        for user in (ANN, only_md5, only_sha256, only_sha512_256, nothing):
            await store.put(REALM, user)
            assert await store.find(REALM, user.userhash(REALM)) == user
        assert await store.summary(REALM) == Summary(5, 3, 3, 3)

    @pytest.mark.parametrize("key", [bytes(16), b"\x00" * 15 + b" ", b"\xff" * 16, b"'\\%\n" * 4])
    async def test_keys_are_any_bytes(self, store: Store, key: bytes) -> None:
        user = UserKeys("ann", key, key + key, key + key)
        await store.put(REALM, user)
        assert await store.find(REALM, user.userhash(REALM)) == user

    async def test_secrets_are_listed_the_newest_first(self, store: Store) -> None:
        assert list(await store.secrets(REALM)) == []
        for secret in ("first", "Second", "dritte: ü'%"):
            assert await store.add_secret(REALM, secret) is True
        assert await store.add_secret(REALM, "first") is False
        assert list(await store.secrets(REALM)) == ["dritte: ü'%", "Second", "first"]
        assert list(await store.secrets("other.example")) == []
        assert await store.remove_secret(REALM, "Second") is True
        assert await store.remove_secret(REALM, "Second") is False
        assert await store.remove_secret(REALM, "FIRST") is False
        assert list(await store.secrets(REALM)) == ["dritte: ü'%", "first"]

    async def test_opening_again_keeps_what_is_there(self, store: Store) -> None:
        await store.put(REALM, ANN)
        await store.open()
        assert await store.find(REALM, ANN.userhash(REALM)) == ANN
