"""The two HMACs of a STUN message: which key, which attribute (RFC 8489 §14.5, §14.6)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Protocol

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
    inner, outer = _keyed_sha1(key)
    return _finish(inner, outer, text)


def hmac_sha256(key: bytes, text: bytes) -> bytes:
    """The value of MESSAGE-INTEGRITY-SHA256, 32 bytes (RFC 8489 §14.6)."""
    inner, outer = _keyed_sha256(key)
    return _finish(inner, outer, text)


# A user's key protects every request and every answer.  The two hashes that have read it are half
# of an HMAC's work (RFC 2104 §4), and copying them is cheaper than the hmac module's one call.

_KEYS_KEPT = 1024
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class _Hash(Protocol):
    """A hash of hashlib."""

    def copy(self) -> "_Hash": ...

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def _keyed(new: Callable[[bytes], _Hash], key: bytes) -> tuple[_Hash, _Hash]:
    if len(key) > _BLOCK:
        key = new(key).digest()
    block = key.ljust(_BLOCK, b"\0")
    return new(block.translate(_INNER)), new(block.translate(_OUTER))


@lru_cache(_KEYS_KEPT)
def _keyed_sha1(key: bytes) -> tuple[_Hash, _Hash]:
    # Collisions of SHA-1 do not weaken its HMAC.
    return _keyed(partial(hashlib.sha1, usedforsecurity=False), key)


@lru_cache(_KEYS_KEPT)
def _keyed_sha256(key: bytes) -> tuple[_Hash, _Hash]:
    return _keyed(hashlib.sha256, key)


def _finish(inner: _Hash, outer: _Hash, text: bytes) -> bytes:
    reading = inner.copy()
    reading.update(text)
    closing = outer.copy()
    closing.update(reading.digest())
    return closing.digest()
