"""Access tokens that hold their own session key: who made one and who reads it share a key.

An authorization server seals a token and gives it, with the session key that it holds, to a client;
the client shows it to a STUN or TURN server and signs with the session key; that server unseals the
token and needs to ask nobody (RFC 7635 §6.2).

Nothing here reads a clock; times are Unix seconds.
"""

import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from natkit.errors import MalformedMessage, MisuseError
from natkit.machine import RandomBytes
from natkit.stun.attributes import AccessToken

__all__ = [
    "COTURN_KEY_LENGTH",
    "KEY_LENGTH",
    "SHA1_KEY_LENGTH",
    "SHA256_KEY_LENGTH",
    "SHORT_KEY_LENGTH",
    "Grant",
    "Token",
    "TokenKey",
    "grant",
    "seal",
    "unseal",
]

KEY_LENGTH = 32
"""Bytes of a key that two servers share for AES-256-GCM, which is the one to choose."""

SHORT_KEY_LENGTH = 16
"""Bytes of one for AES-128-GCM, which servers have, too."""

NONCE_LENGTH = 12
"""Bytes of a nonce: AES-GCM has no other length (RFC 5116 §5.2)."""

SHA1_KEY_LENGTH = 20
"""Bytes of a session key for MESSAGE-INTEGRITY."""

SHA256_KEY_LENGTH = 32
"""Bytes of a session key for MESSAGE-INTEGRITY-SHA256; a longer one may be for either."""

COTURN_KEY_LENGTH = 16
"""Bytes of a session key that coturn signs with, whichever length the token has beyond."""

LONGEST_KEY = 64
"""Bytes of a session key: what HMAC uses of one as it is, in any case (RFC 2104 §2)."""

_KEY_SIZE = struct.Struct("!H")
# The time is in 48 bits for seconds and 16 for their fraction (RFC 7635 §6.2).
_TIMES = struct.Struct("!QI")
_FRACTION = 1 << 16


@dataclass(frozen=True, slots=True)
class TokenKey:
    """What an authorization server and a STUN server share; ``kid`` is its name, in USERNAME.

    Tokens are taken from ``not_before`` until ``until``; None says nothing.
    """

    kid: str
    key: bytes = field(repr=False)
    not_before: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        if len(self.key) not in (KEY_LENGTH, SHORT_KEY_LENGTH):
            raise MisuseError(f"a key of tokens has 32 or 16 bytes, not {len(self.key)}")

    def is_good(self, now: float) -> bool:
        """Whether its time is now."""
        return (self.not_before is None or self.not_before <= now) and (
            self.until is None or now < self.until
        )


@dataclass(frozen=True, slots=True)
class Token:
    """What a token holds: the session key, when it was made, and for how many seconds."""

    mac_key: bytes = field(repr=False)
    timestamp: float
    lifetime: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client is given: the sealed token, the name of its key, and the session key."""

    kid: str
    access_token: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    lifetime: int


def grant(
    key: TokenKey,
    server_name: str,
    *,
    now: float,
    lifetime: int,
    random: RandomBytes,
    key_length: int = SHA256_KEY_LENGTH,
) -> Grant:
    """Make a token for the clients of ``server_name``, which it tells in THIRD-PARTY-AUTHORIZATION.

    ``key_length`` decides how the client signs.  MisuseError for a lifetime that is not positive
    and a length that no integrity attribute has.
    """
    if key_length not in (COTURN_KEY_LENGTH, SHA1_KEY_LENGTH, SHA256_KEY_LENGTH):
        raise MisuseError(f"a session key has 16, 20 or 32 bytes, not {key_length}")
    if not 0 < lifetime < 1 << 32:
        raise MisuseError(f"a token's lifetime of {lifetime} seconds")
    token = Token(random(key_length), now, lifetime)
    sealed = seal(token, key, server_name, random(NONCE_LENGTH))
    return Grant(key.kid, sealed.encode(), token.mac_key, lifetime)


def seal(token: Token, key: TokenKey, server_name: str, nonce: bytes) -> AccessToken:
    """Seal a token; ``nonce`` is twelve bytes that were never used with the key."""
    text = (
        _KEY_SIZE.pack(len(token.mac_key))
        + token.mac_key
        + _TIMES.pack(int(token.timestamp * _FRACTION), token.lifetime)
    )
    return AccessToken(nonce, AESGCM(key.key).encrypt(nonce, text, server_name.encode()))


def unseal(sealed: AccessToken, key: TokenKey, server_name: str) -> Token:
    """Read a token; MalformedMessage when it is not for ``server_name``, or not of this key."""
    if len(sealed.nonce) != NONCE_LENGTH:
        raise MalformedMessage(f"an access token whose nonce has {len(sealed.nonce)} bytes")
    try:
        text = AESGCM(key.key).decrypt(sealed.nonce, sealed.encrypted_block, server_name.encode())
    except InvalidTag:
        raise MalformedMessage("an access token that this key did not seal for us") from None
    if len(text) < _KEY_SIZE.size + _TIMES.size:
        raise MalformedMessage("an access token that is too short")
    (size,) = _KEY_SIZE.unpack_from(text)
    if not COTURN_KEY_LENGTH <= size <= LONGEST_KEY:
        raise MalformedMessage(f"an access token with a session key of {size} bytes")
    if len(text) != _KEY_SIZE.size + size + _TIMES.size:
        raise MalformedMessage("an access token whose lengths disagree")
    end = _KEY_SIZE.size + size
    timestamp, lifetime = _TIMES.unpack_from(text, end)
    return Token(text[_KEY_SIZE.size : end], timestamp / _FRACTION, lifetime)
