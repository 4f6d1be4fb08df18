"""The two HMACs of a STUN message: which key, which attribute (RFC 8489 §14.5, §14.6)."""

import hmac
from dataclasses import dataclass, field

from natkit.stun.registry import Integrity


@dataclass(frozen=True, slots=True)
class IntegrityKey:
    """The key of a message's HMAC, and which attributes are to carry it.

    ``key`` comes from :mod:`natkit.stun.credentials`, and is never shown.
    """

    key: bytes = field(repr=False)
    integrity: Integrity = Integrity.SHA1


def hmac_sha1(key: bytes, text: bytes) -> bytes:
    """The value of MESSAGE-INTEGRITY, 20 bytes (RFC 8489 §14.5)."""
    return hmac.digest(key, text, "sha1")


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """The value of MESSAGE-INTEGRITY-SHA256, 32 bytes (RFC 8489 §14.6)."""
    return hmac.digest(key, text, "sha256")
