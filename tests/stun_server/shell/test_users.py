"""Users as the machine asks for them."""

import pytest

from natkit.errors import ConfigError
from natkit.stun.credentials import long_term_key, user_hash
from natkit.stun.registry import PasswordAlgorithmNumber
from stun_server.events import FindCredential
from stun_server.shell.users import Users

REALM = "example.org"


def ask(username: str | None = None, userhash: bytes | None = None) -> FindCredential:
    return FindCredential(1, REALM, username, userhash)


def test_a_user_is_found_by_name_and_by_hash_with_a_key_for_each_algorithm() -> None:
    users = Users(REALM, [("ann", "secret")])
    found = users.find(ask("ann"))
    assert found is not None
    assert found == users.find(ask(userhash=user_hash("ann", REALM)))
    assert found.md5 == long_term_key("ann", REALM, "secret")
    assert found.sha256 == long_term_key("ann", REALM, "secret", PasswordAlgorithmNumber.SHA_256)


def test_strangers_are_not_found() -> None:
    users = Users(REALM, [("ann", "secret")])
    assert users.find(ask("bob")) is None
    assert users.find(ask(userhash=user_hash("bob", REALM))) is None
    assert users.find(ask()) is None
    assert Users(REALM, []).find(ask("ann")) is None


def test_a_name_is_prepared_as_clients_prepare_it() -> None:
    # RFC 8265 §4.2: NFC, and a space for a no-break space.
    users = Users(REALM, [("ju\u0308rgen\u00a0x", "secret")])
    assert users.find(ask("j\u00fcrgen x")) is not None


def test_a_name_that_cannot_be_sent_is_refused_and_its_password_not_shown() -> None:
    with pytest.raises(ConfigError, match=r"^user 'a\\x07': ") as caught:
        Users(REALM, [("a\x07", "hunter2")])
    assert "hunter2" not in str(caught.value)
