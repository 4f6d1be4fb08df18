"""Time-limited credentials: a username with an expiry, and the password that follows from it.

A service hands them to its users, and the TURN server checks them without a store, because both
know a secret.  This is the form that browsers' and servers' authors know as the TURN REST API
(draft-uberti-behave-turn-rest): the username is ``expiry:name`` or ``expiry`` alone, with the
expiry in Unix seconds; the password is the base64 of an HMAC over the username.

Nothing here reads a clock.
"""

import hmac
from base64 import b64encode
from dataclasses import dataclass
from enum import StrEnum

from natkit.errors import MisuseError
from natkit.stun.credentials import opaque_string

__all__ = [
    "Digest",
    "TimeLimitedCredential",
    "TimeLimitedName",
    "time_limited",
    "time_limited_password",
]

MAX_EXPIRY_DIGITS = 12
"""Digits of an expiry: some 30,000 years, and far from where integers become costly."""


class Digest(StrEnum):
    """What the HMAC of a password is made with; whoever makes and whoever checks must agree."""

    SHA1 = "sha1"
    """What every other server takes."""
    SHA256 = "sha256"


@dataclass(frozen=True, slots=True)
class TimeLimitedName:
    """What a time-limited username says: when it ends, in Unix seconds, and whose it is."""

    expires: int
    name: str

    @classmethod
    def parse(cls, username: str) -> "TimeLimitedName | None":
        """Read ``expiry:name`` or ``expiry``; None for any other username."""
        digits, _, name = username.partition(":")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_EXPIRY_DIGITS):
            return None
        return cls(int(digits), name)

    @property
    def text(self) -> str:
        """The username."""
        return f"{self.expires}:{self.name}" if self.name else str(self.expires)


@dataclass(frozen=True, slots=True)
class TimeLimitedCredential:
    """A username and its password, good until ``expires`` in Unix seconds."""

    username: str
    password: str
    expires: int


def time_limited(
    secret: str, *, now: float, lifetime: int, name: str = "", digest: Digest = Digest.SHA1
) -> TimeLimitedCredential:
    """Make a credential that ends ``lifetime`` seconds after ``now``, which is Unix time.

    ``name`` is prepared as clients prepare a username (RFC 8265 §4.2).  MisuseError for a name that
    cannot be, an empty secret, a lifetime that is not positive, or an expiry out of range.
    """
    if lifetime <= 0:
        raise MisuseError(f"a credential lives for at least a second, not {lifetime}")
    prepared = opaque_string(name) if name else ""
    username = TimeLimitedName(int(now) + lifetime, prepared).text
    made_for = TimeLimitedName.parse(username)
    if made_for is None:
        raise MisuseError(f"{username.partition(':')[0]} is no time that a username can say")
    password = time_limited_password(secret, username, digest)
    return TimeLimitedCredential(username, password, made_for.expires)


def time_limited_password(secret: str, username: str, digest: Digest = Digest.SHA1) -> str:
    """The password of a time-limited username; MisuseError for an empty secret."""
    if not secret:
        raise MisuseError("the secret of time-limited credentials is empty")
    return b64encode(hmac.digest(secret.encode(), username.encode(), digest.value)).decode()
