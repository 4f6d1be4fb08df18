"""Keys, proofs and nonce cookies."""

import base64
import hashlib

import precis_i18n
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MisuseError
from natkit.stun.attributes import MessageIntegritySha256, Username
from natkit.stun.credentials import (
    MD5,
    SHA_256,
    SUPPORTED_ALGORITHMS,
    long_term_key,
    nonce_cookie,
    nonce_features,
    opaque_string,
    secrets_equal,
    short_term_key,
    user_hash,
    verify,
)
from natkit.stun.integrity import IntegrityKey, hmac_sha256
from natkit.stun.message import Message
from natkit.stun.registry import (
    Integrity,
    Method,
    PasswordAlgorithmNumber,
    SecurityFeature,
)

ID = bytes(12)
KEY = b"a key"
BOTH_FEATURES = SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY


class TestKeys:
    def test_the_md5_key_is_the_rfcs_example(self) -> None:
        # RFC 8489 §9.2.2.
        assert long_term_key("user", "realm", "pass").hex() == "8493fbc53ba582fb4c044c456bdc40eb"

    def test_the_sha256_key_hashes_the_same_text(self) -> None:
        key = long_term_key("user", "realm", "pass", PasswordAlgorithmNumber.SHA_256)
        assert key == hashlib.sha256(b"user:realm:pass").digest()

    @pytest.mark.parametrize(
        ("username", "realm", "password"),
        [
            ('"user"', "realm", "pass"),
            ("user\0\0", "realm\0", "pass\0"),
            ("user", '"realm"', "pass"),
        ],
    )
    def test_quotes_and_trailing_nulls_are_not_hashed(
        self, username: str, realm: str, password: str
    ) -> None:
        assert long_term_key(username, realm, password) == long_term_key("user", "realm", "pass")

    def test_an_empty_realm_is_hashed_as_it_is(self) -> None:
        expected = hashlib.md5(b"user::pass", usedforsecurity=False).digest()
        assert long_term_key("user", "", "pass") == expected
        assert user_hash("user", "") == hashlib.sha256(b"user:").digest()

    def test_an_unknown_algorithm_is_refused(self) -> None:
        with pytest.raises(MisuseError, match="algorithm 3"):
            long_term_key("user", "realm", "pass", 3)

    def test_a_short_term_key_is_the_prepared_password(self) -> None:
        assert short_term_key("pass") == b"pass"
        assert short_term_key("a\u00a0b") == b"a b"

    def test_sha256_is_preferred(self) -> None:
        assert SUPPORTED_ALGORITHMS == (SHA_256, MD5)

    @pytest.mark.parametrize(
        ("mine", "theirs", "equal"), [(b"a", b"a", True), (b"a", b"b", False), (b"a", b"", False)]
    )
    def test_secrets_are_compared_whole(self, mine: bytes, theirs: bytes, equal: bool) -> None:
        assert secrets_equal(mine, theirs) is equal


class TestOpaqueString:
    """RFC 8265 §4."""

    @pytest.mark.parametrize(
        ("text", "prepared"),
        [
            ("correct horse battery staple", "correct horse battery staple"),
            ("Correct Horse", "Correct Horse"),
            ("\u03c0\u00df\u00e5", "\u03c0\u00df\u00e5"),
            ("Jack of \u2666s", "Jack of \u2666s"),
            ("foo\u1680bar", "foo bar"),
            ("e\u0301", "\u00e9"),
        ],
    )
    def test_prepares_the_examples_of_the_rfc(self, text: str, prepared: str) -> None:
        assert opaque_string(text) == prepared

    @pytest.mark.parametrize(
        "text", ["", "my cat is a \tby", "a\0", "\x7f", "The\u00adM", "\ud800"]
    )
    def test_refuses_what_the_rfc_forbids(self, text: str) -> None:
        with pytest.raises(MisuseError, match="OpaqueString forbids"):
            opaque_string(text)

    @given(text=st.text(st.characters(codec="ascii")))
    def test_takes_no_short_cut_that_changes_ascii(self, text: str) -> None:
        try:
            expected = precis_i18n.get_profile("OpaqueString").enforce(text)
        except UnicodeEncodeError:
            with pytest.raises(MisuseError):
                opaque_string(text)
        else:
            assert opaque_string(text) == expected

    @given(text=st.text())
    def test_is_done_once_and_for_all(self, text: str) -> None:
        try:
            prepared = opaque_string(text)
        except MisuseError:
            return
        assert opaque_string(prepared) == prepared
        prepared.encode()


def sha256_of_length(length: int) -> Message:
    """A request whose HMAC-SHA256 is truncated as §14.6 says."""
    body = Message.request(Method.BINDING, ID, Username("u")).encode()[20:]
    text = b"\0\1" + (len(body) + 4 + length).to_bytes(2, "big") + bytes.fromhex("2112a442") + ID
    mac = hmac_sha256(KEY, text + body)[:length]
    attributes = (Username("u"), MessageIntegritySha256(mac))
    return Message.parse(Message.request(Method.BINDING, ID, *attributes).encode())


class TestVerify:
    @pytest.mark.parametrize("length", [16, 20, 24, 28])
    def test_a_truncated_hmac_proves_only_where_that_is_allowed(self, length: int) -> None:
        message = sha256_of_length(length)
        assert verify(message, KEY) is None
        assert verify(message, KEY, require_full=False) is Integrity.SHA256
        assert verify(message, b"?", require_full=False) is None

    def test_a_full_hmac_proves_everywhere(self) -> None:
        assert verify(sha256_of_length(32), KEY) is Integrity.SHA256

    def test_nothing_proves_a_message_without_integrity(self) -> None:
        assert verify(Message.parse(Message.request(Method.BINDING, ID).encode()), KEY) is None

    def test_sha256_decides_where_both_are_present(self) -> None:
        both = Message.request(Method.BINDING, ID).encode(
            integrity=IntegrityKey(KEY, Integrity.BOTH)
        )
        assert verify(Message.parse(both), KEY) is Integrity.SHA256
        broken = both[:-1] + bytes([both[-1] ^ 1])
        assert verify(Message.parse(broken), KEY) is None

    def test_a_message_that_was_not_parsed_proves_nothing(self) -> None:
        message = Message.request(Method.BINDING, ID, MessageIntegritySha256(bytes(32)))
        assert verify(message, KEY) is None


class TestNonceCookie:
    """RFC 8489 §9.2, §18.1."""

    @pytest.mark.parametrize(
        ("features", "bits"),
        [
            (SecurityFeature(0), "000000"),
            (SecurityFeature.PASSWORD_ALGORITHMS, "800001"),
            (SecurityFeature.USERNAME_ANONYMITY, "400002"),
            (BOTH_FEATURES, "c00003"),
        ],
    )
    def test_sets_each_feature_at_both_ends(self, features: SecurityFeature, bits: str) -> None:
        cookie = nonce_cookie(features)
        assert cookie[:9] == b"obMatJos2"
        assert base64.b64decode(cookie[9:]).hex() == bits
        assert nonce_features(cookie + b"and the rest") == features

    @pytest.mark.parametrize(
        ("bits", "features"),
        [
            ("800000", SecurityFeature.PASSWORD_ALGORITHMS),
            ("000001", SecurityFeature.PASSWORD_ALGORITHMS),
            ("400000", SecurityFeature.USERNAME_ANONYMITY),
            ("000002", SecurityFeature.USERNAME_ANONYMITY),
            ("c00000", BOTH_FEATURES),
            ("000003", BOTH_FEATURES),
            ("0ffff0", SecurityFeature(0)),
        ],
    )
    def test_honours_either_order(self, bits: str, features: SecurityFeature) -> None:
        cookie = b"obMatJos2" + base64.b64encode(bytes.fromhex(bits))
        assert nonce_features(cookie) == features

    @pytest.mark.parametrize(
        "nonce",
        [
            b"",
            b"obMatJos2",
            b"obMatJos2AAA",
            b"obMatJos1AAAA",
            b"obMatJos2A===",
            b"obMatJos2AA==",
            b"obMatJos2A*AA",
        ],
    )
    def test_is_absent_from_any_other_nonce(self, nonce: bytes) -> None:
        assert nonce_features(nonce) is None

    @given(tail=st.binary(max_size=20))
    def test_any_nonce_can_be_looked_at(self, tail: bytes) -> None:
        nonce_features(b"obMatJos2" + tail)
