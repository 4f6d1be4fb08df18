"""Keys, and the proof that a message was made with one (RFC 8489 §9).

This module holds the one function of natkit that compares secrets.
"""

import base64
import hashlib
import hmac

import precis_i18n

from natkit.errors import MisuseError
from natkit.stun.attributes import MessageIntegrity, MessageIntegritySha256, PasswordAlgorithm
from natkit.stun.attributes.base import SHA256_LENGTH
from natkit.stun.integrity import hmac_sha1, hmac_sha256
from natkit.stun.message import Message
from natkit.stun.registry import (
    NONCE_COOKIE,
    Integrity,
    PasswordAlgorithmNumber,
    SecurityFeature,
)

NONCE_COOKIE_LENGTH = 13
"""Bytes of a nonce cookie: its fixed start and 24 bits in base64 (RFC 8489 §9.2)."""

MD5 = PasswordAlgorithm(PasswordAlgorithmNumber.MD5)
SHA_256 = PasswordAlgorithm(PasswordAlgorithmNumber.SHA_256)

SUPPORTED_ALGORITHMS = (SHA_256, MD5)
"""The password algorithms that natkit knows, the better first (RFC 8489 §18.5.1)."""

_opaque_string = precis_i18n.get_profile("OpaqueString")


def secrets_equal(mine: bytes, theirs: bytes) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(mine, theirs)


def opaque_string(text: str) -> str:
    """Text prepared by the OpaqueString profile (RFC 8265 §4.2).

    Raises MisuseError for empty text and for characters that the profile forbids.
    """
    # Printable ASCII comes out as it went in, at any length but zero.
    if text.isascii() and text.isprintable() and text:
        return text
    try:
        return str(_opaque_string.enforce(text))
    except UnicodeEncodeError as error:
        raise MisuseError(f"text that OpaqueString forbids: {error.reason}") from None


def short_term_key(password: str) -> bytes:
    """The HMAC key of a short-term credential (RFC 8489 §9.1.1)."""
    return opaque_string(password).encode()


def long_term_key(
    username: str,
    realm: str,
    password: str,
    algorithm: int = PasswordAlgorithmNumber.MD5,
) -> bytes:
    """The HMAC key of a long-term credential (RFC 8489 §9.2.2, §18.5.1).

    ``algorithm`` is a number of the registry; MisuseError for one that natkit does not know.
    """
    parts = (
        opaque_string(_unquoted(username)),
        _prepared_realm(_unquoted(realm)),
        opaque_string(password.rstrip("\0")),
    )
    text = ":".join(parts).encode()
    match algorithm:
        case PasswordAlgorithmNumber.MD5:
            return hashlib.md5(text, usedforsecurity=False).digest()
        case PasswordAlgorithmNumber.SHA_256:
            return hashlib.sha256(text).digest()
        case _:
            raise MisuseError(f"password algorithm {algorithm} is not known")


def _unquoted(text: str) -> str:
    # RFC 8489 §9.2.2: quotes and trailing nulls are no part of what is hashed.
    return text.rstrip("\0").strip('"')


def _prepared_realm(realm: str) -> str:
    # OpaqueString knows no empty text, but servers of RFC 5389 may have an empty realm.
    return opaque_string(realm) if realm else ""


def user_hash(username: str, realm: str) -> bytes:
    """The value of USERHASH, 32 bytes (RFC 8489 §14.4)."""
    text = f"{opaque_string(username)}:{_prepared_realm(realm)}"
    return hashlib.sha256(text.encode()).digest()


def verify(message: Message, key: bytes, *, require_full: bool = True) -> Integrity | None:
    """Which integrity attribute proves that a parsed message was made with ``key``, or None.

    MESSAGE-INTEGRITY-SHA256 decides where it is present, MESSAGE-INTEGRITY elsewhere (RFC 8489
    §9.1.3, §9.2.4).  With ``require_full``, as for TURN, ICE and Binding, an HMAC-SHA256 that is
    truncated proves nothing (§14.6).
    """
    text = message.sha256_text()
    if text is not None:
        sha256 = message.get(MessageIntegritySha256)
        if sha256 is None or (require_full and len(sha256.mac) != SHA256_LENGTH):
            return None
        mac = hmac_sha256(key, text)[: len(sha256.mac)]
        return Integrity.SHA256 if secrets_equal(mac, sha256.mac) else None
    text = message.sha1_text()
    sha1 = message.get(MessageIntegrity)
    if text is None or sha1 is None:
        return None
    return Integrity.SHA1 if secrets_equal(hmac_sha1(key, text), sha1.mac) else None


def nonce_cookie(features: SecurityFeature) -> bytes:
    """The 13 bytes that open the nonce of a server with these features (RFC 8489 §9.2).

    RFC 8489 §18.1 counts features from the left, its own Appendix B.1 from the right; so each bit
    is set at both ends, and either kind of client sees it.
    """
    bits = int(features) | _reverse(int(features))
    return NONCE_COOKIE + base64.b64encode(bits.to_bytes(3, "big"))


def nonce_features(nonce: bytes) -> SecurityFeature | None:
    """The features that a nonce announces, counted from either end; None without a cookie.

    A cookie whose base64 does not decode is none.
    """
    if not nonce.startswith(NONCE_COOKIE) or len(nonce) < NONCE_COOKIE_LENGTH:
        return None
    try:
        decoded = base64.b64decode(nonce[len(NONCE_COOKIE) : NONCE_COOKIE_LENGTH], validate=True)
    except ValueError:
        return None
    if len(decoded) != 3:
        return None
    bits = int.from_bytes(decoded, "big")
    bits |= _reverse(bits)
    return SecurityFeature(bits & sum(SecurityFeature))


def _reverse(bits: int) -> int:
    return int(f"{bits:024b}"[::-1], 2)
