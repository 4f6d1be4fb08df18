"""What a store of users and secrets is, whichever software keeps it.

A store holds keys, not passwords: what it holds of a user of one realm is of no use in another.  It
is asked by the user's hash (RFC 8489 §14.4), which clients send as USERHASH and which follows from
the name for those that send USERNAME; so both kinds cost the same, and a database compares bytes,
whose equality no collation touches.  Secrets, from which time-limited credentials are made, must be
kept as they are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from natkit.stun.credentials import long_term_key, opaque_string, user_hash
from natkit.stun.registry import PasswordAlgorithmNumber

__all__ = ["ANSWER_LIMIT", "Store", "Summary", "UserKeys", "secret_hash"]

ANSWER_LIMIT = 3.0
"""Seconds in which a store answers or counts as down: less than a server's request waits for it."""


@dataclass(frozen=True, slots=True)
class UserKeys:
    """A user and the long-term keys of one realm (RFC 8489 §18.5.1); None for a key not known.

    ``username`` is as OpaqueString prepares it (RFC 8265 §4.2), which clients send.  SIP's digest
    knows the same keys as HA1 (RFC 7616 §3.4.2), and ``sha512_256`` beside them.
    """

    username: str
    md5: bytes | None
    sha256: bytes | None
    sha512_256: bytes | None = None

    @classmethod
    def derive(cls, username: str, realm: str, password: str) -> "UserKeys":
        """The keys of a password; MisuseError for text that OpaqueString forbids."""
        prepared = opaque_string(username)
        text = f"{prepared}:{realm}:{opaque_string(password)}".encode()
        return cls(
            prepared,
            long_term_key(username, realm, password, PasswordAlgorithmNumber.MD5),
            long_term_key(username, realm, password, PasswordAlgorithmNumber.SHA_256),
            hashlib.new("sha512_256", text).digest(),
        )

    def userhash(self, realm: str) -> bytes:
        """By what a store finds the user."""
        return user_hash(self.username, realm)


@dataclass(frozen=True, slots=True)
class Summary:
    """How many users a realm has, and how many of them lack a key."""

    users: int
    without_md5: int
    without_sha256: int
    without_sha512_256: int

    @classmethod
    def of(cls, users: Sequence[UserKeys]) -> "Summary":
        """Count them."""
        return cls(
            len(users),
            sum(user.md5 is None for user in users),
            sum(user.sha256 is None for user in users),
            sum(user.sha512_256 is None for user in users),
        )


class Store(Protocol):
    """Users and secrets by realm.

    Every method but ``aclose`` raises StoreFailure when the store cannot be asked, and works again
    when it can; none waits much longer than :data:`ANSWER_LIMIT`.
    """

    @property
    def name(self) -> str:
        """Where it is, for people; without passwords."""
        ...

    async def open(self) -> None:
        """Make what the store needs to hold users, if it is not there.

        Not needed before the other methods.  ConfigError for what waiting does not heal.
        """
        ...

    async def aclose(self) -> None:
        """Let go of files and connections; the store is not used any more."""
        ...

    async def find(self, realm: str, userhash: bytes) -> UserKeys | None:
        """The user of this hash."""
        ...

    async def users(self, realm: str) -> Sequence[UserKeys]:
        """All users, by name."""
        ...

    async def summary(self, realm: str) -> Summary:
        """What :meth:`users` would show, counted."""
        ...

    async def put(self, realm: str, user: UserKeys) -> bool:
        """Add a user, or replace its keys; whether it is new."""
        ...

    async def remove(self, realm: str, username: str) -> bool:
        """Remove a user by its prepared name; whether it was there."""
        ...

    async def secrets(self, realm: str) -> Sequence[str]:
        """The secrets of time-limited credentials, the newest first."""
        ...

    async def add_secret(self, realm: str, secret: str) -> bool:
        """Add a secret; whether it is new."""
        ...

    async def remove_secret(self, realm: str, secret: str) -> bool:
        """Remove a secret; whether it was there."""
        ...


def secret_hash(realm: str, secret: str) -> bytes:
    """By what a store tells secrets apart, 32 bytes."""
    return hashlib.sha256(f"{realm}:{secret}".encode()).digest()
