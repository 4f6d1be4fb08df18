"""Time-limited credentials: what they say, and the password that belongs to them."""

import hashlib
import hmac
from base64 import b64encode

import pytest

from natkit.errors import MisuseError
from natkit.turn.credentials import Digest, TimeLimitedName, time_limited, time_limited_password

NOW = 1_700_000_000.9


def test_a_credential_says_when_it_ends_and_for_whom_it_is() -> None:
    made = time_limited("north", now=NOW, lifetime=3600, name="alice")
    assert (made.username, made.expires) == ("1700003600:alice", 1_700_003_600)
    assert TimeLimitedName.parse(made.username) == TimeLimitedName(1_700_003_600, "alice")


def test_without_a_name_the_username_is_the_expiry_alone() -> None:
    made = time_limited("north", now=NOW, lifetime=10)
    assert made.username == "1700000010"
    assert TimeLimitedName.parse(made.username) == TimeLimitedName(1_700_000_010, "")


def test_a_name_is_prepared_as_clients_prepare_it() -> None:
    made = time_limited("north", now=NOW, lifetime=10, name="ju\u0308rgen")
    assert made.username == "1700000010:j\u00fcrgen"
    assert made.password == time_limited_password("north", made.username)


@pytest.mark.parametrize("digest", list(Digest))
def test_the_password_is_the_base64_of_an_hmac_over_the_username(digest: Digest) -> None:
    mac = hmac.new(b"north", b"1700000010:a:b", getattr(hashlib, digest.value)).digest()
    assert time_limited_password("north", "1700000010:a:b", digest) == b64encode(mac).decode()


def test_the_password_is_the_one_that_openssl_makes() -> None:
    # printf %s 1700000000:alice | openssl dgst -sha1 -hmac secret -binary | base64
    assert time_limited_password("secret", "1700000000:alice") == "d8soP47RbdIKLDUOpnJPVQyq5Ts="


@pytest.mark.parametrize(
    "username",
    ["", ":", "alice", "alice:1700000000", "-1:a", "+1:a", "1_0:a", " 1:a", "1.5:a", "٣:a", "²:a"],
)
def test_other_usernames_are_not_time_limited(username: str) -> None:
    assert TimeLimitedName.parse(username) is None


def test_an_endless_number_is_no_expiry() -> None:
    assert TimeLimitedName.parse("9" * 12) is not None
    assert TimeLimitedName.parse("9" * 13) is None
    assert TimeLimitedName.parse("9" * 500) is None


def test_a_name_may_hold_colons() -> None:
    assert TimeLimitedName.parse("1:a:b") == TimeLimitedName(1, "a:b")


@pytest.mark.parametrize(
    ("secret", "lifetime"), [("", 10), ("north", 0), ("north", -5), ("north", 10**13)]
)
def test_what_cannot_be_made_is_refused(secret: str, lifetime: int) -> None:
    with pytest.raises(MisuseError):
        time_limited(secret, now=NOW, lifetime=lifetime, name="alice")
    with pytest.raises(MisuseError):
        time_limited("north", now=NOW, lifetime=10, name="a\n")
