"""Access tokens, by RFC 7635 §6.2."""

import random
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from natkit.errors import MalformedMessage, MisuseError
from natkit.stun.attributes import AccessToken
from natkit.stun.tokens import KEY_LENGTH, SHORT_KEY_LENGTH, Token, TokenKey, grant, seal, unseal

SERVER = "turn.example.org"
KEY = TokenKey("north", bytes(range(KEY_LENGTH)))
NONCE = b"once and only"[:12]
TOKEN = Token(b"k" * 20, 1_700_000_000.5, 3600)


def sealed_text(text: bytes, nonce: bytes = NONCE) -> AccessToken:
    return AccessToken(nonce, AESGCM(KEY.key).encrypt(nonce, text, SERVER.encode()))


def test_a_token_comes_back_as_it_went() -> None:
    assert unseal(seal(TOKEN, KEY, SERVER, NONCE), KEY, SERVER) == TOKEN


def test_a_shorter_key_seals_by_aes_128() -> None:
    key = TokenKey("union", bytes(SHORT_KEY_LENGTH))
    assert unseal(seal(TOKEN, key, SERVER, NONCE), key, SERVER) == TOKEN


def test_a_token_is_laid_out_as_the_rfc_has_it() -> None:
    value = seal(TOKEN, KEY, SERVER, NONCE).encode()
    assert value[:2] == b"\x00\x0c"
    assert value[2:14] == NONCE
    text = AESGCM(KEY.key).decrypt(NONCE, value[14:], SERVER.encode())
    assert text == struct.pack("!H20sQI", 20, b"k" * 20, (1_700_000_000 << 16) + 0x8000, 3600)


@pytest.mark.parametrize("length", [16, 20, 32])
def test_a_grant_is_what_server_and_client_need(length: int) -> None:
    made = grant(
        KEY, SERVER, now=5.0, lifetime=60, random=random.Random(1).randbytes, key_length=length
    )
    token = unseal(AccessToken.decode(made.access_token), KEY, SERVER)
    assert (made.kid, token.mac_key, token.timestamp, token.lifetime) == (
        "north",
        made.mac_key,
        5.0,
        60,
    )
    assert len(made.mac_key) == length
    assert made.mac_key.hex() not in repr(made)


def test_a_token_for_another_server_or_of_another_key_is_refused() -> None:
    sealed = seal(TOKEN, KEY, SERVER, NONCE)
    with pytest.raises(MalformedMessage, match="did not seal"):
        unseal(sealed, KEY, "other.example.org")
    with pytest.raises(MalformedMessage, match="did not seal"):
        unseal(sealed, TokenKey("north", bytes(KEY_LENGTH)), SERVER)


def test_a_token_that_was_changed_in_any_byte_or_cut_anywhere_is_refused() -> None:
    value = seal(TOKEN, KEY, SERVER, NONCE).encode()
    for place in range(len(value)):
        changed = bytearray(value)
        changed[place] ^= 1
        with pytest.raises(MalformedMessage):
            unseal(AccessToken.decode(bytes(changed)), KEY, SERVER)
        with pytest.raises(MalformedMessage):
            unseal(AccessToken.decode(value[:place]), KEY, SERVER)
    with pytest.raises(MalformedMessage):
        unseal(AccessToken.decode(value + b"\0"), KEY, SERVER)


@pytest.mark.parametrize("length", [0, 1, 11, 13, 16, 255, 256, 65_000])
def test_a_nonce_has_twelve_bytes_whatever_its_length_says(length: int) -> None:
    with pytest.raises(MalformedMessage, match="nonce has"):
        unseal(AccessToken(bytes(length), b"x" * 64), KEY, SERVER)


@pytest.mark.parametrize("claimed", [0, 15, 19, 21, 65, 0xFFFF])
def test_a_session_key_is_as_long_as_it_says_and_as_an_hmac_wants(claimed: int) -> None:
    text = struct.pack("!H20sQI", claimed, b"k" * 20, 0, 0)
    with pytest.raises(MalformedMessage):
        unseal(sealed_text(text), KEY, SERVER)


@given(st.binary(max_size=100))
def test_nothing_that_is_sealed_is_more_than_malformed(text: bytes) -> None:
    try:
        unseal(sealed_text(text), KEY, SERVER)
    except MalformedMessage:
        pass


@given(st.binary(max_size=200))
def test_nothing_from_the_wire_is_more_than_malformed(value: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unseal(AccessToken.decode(value), KEY, SERVER)


def test_a_key_is_good_in_its_time() -> None:
    key = TokenKey("k", bytes(KEY_LENGTH), not_before=10.0, until=20.0)
    assert [key.is_good(now) for now in (9.9, 10.0, 19.9, 20.0)] == [False, True, True, False]
    with pytest.raises(MisuseError, match="32 or 16 bytes"):
        TokenKey("k", b"short")
    with pytest.raises(MisuseError):
        grant(KEY, SERVER, now=0.0, lifetime=0, random=random.Random(1).randbytes)
    with pytest.raises(MisuseError):
        grant(KEY, SERVER, now=0.0, lifetime=1, random=random.Random(1).randbytes, key_length=15)
