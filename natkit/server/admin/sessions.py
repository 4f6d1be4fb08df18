"""What a browser is given once it has shown the token: a cookie that stands for it.

Nothing is kept for a session: the cookie is the time of its end and an HMAC over it, by a key that
lives as long as the process.
"""

import hmac

from natkit.stun.credentials import secrets_equal

__all__ = ["COOKIE", "LIFETIME", "Sessions"]

COOKIE = "natkit_admin"
LIFETIME = 12 * 3600
"""Seconds after which a browser must show the token again: a working day."""

_DIGITS = 12
_PURPOSE = b"admin session "


class Sessions:
    """Issues cookies and knows its own; ``key`` is 32 random bytes, ``now`` Unix seconds."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, now: float) -> str:
        """A cookie's value."""
        until = str(int(now) + LIFETIME)
        return f"{until}.{self._mac(until)}"

    def is_valid(self, cookie: str | None, now: float) -> bool:
        """Whether a cookie is one of these and has not run out."""
        until, _, mac = (cookie or "").partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) <= _DIGITS):
            return False
        return secrets_equal(mac.encode(), self._mac(until).encode()) and now < int(until)

    def _mac(self, until: str) -> str:
        return hmac.digest(self._key, _PURPOSE + until.encode(), "sha256").hex()
