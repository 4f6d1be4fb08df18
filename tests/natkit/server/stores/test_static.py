"""The store in memory."""

import pytest

from natkit.server.stores.static import StaticStore
from tests.natkit.server.stores.contract import ANN, REALM, StoreContract


class TestStaticStore(StoreContract):
    @pytest.fixture
    def store(self) -> StaticStore:
        return StaticStore()


def test_users_that_it_was_made_with_are_had_without_waiting() -> None:
    store = StaticStore(REALM, [ANN])
    assert store.get(REALM, ANN.userhash(REALM)) == ANN
    assert store.summarize(REALM).users == 1
