"""Nonces that a server need not remember until they are used (RFC 7616 §3.3, §5.12).

A nonce says when it was made and proves that we made it.  What is kept is how often each one was
used by somebody who proved the password, so that strangers fill nothing.
"""

import hmac
import struct
from base64 import b64decode, b64encode
from binascii import Error
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from natkit.errors import MisuseError
from natkit.machine import RandomBytes

__all__ = ["Nonces", "Verdict"]

_HEAD: Final = struct.Struct("!d8s")
_PROOF_SIZE: Final = 16
_WINDOW: Final = 64
"""How far requests may overtake each other: their counts come in any order (RFC 7616 §3.4.5)."""


class Verdict(Enum):
    """What to do with credentials whose proof is right."""

    GOOD = auto()
    STALE = auto()
    """Challenge again with ``stale=true``: the client does not ask its user again."""
    FORGED = auto()
    """We never made it: challenge again, without."""


@dataclass(slots=True)
class _Uses:
    highest: int
    seen: int


class Nonces:
    """Makes and judges the nonces of one server, or of several that share ``key``.

    ``lifetime``: seconds for which a nonce is good.  ``unix_offset`` is what to add to ``now`` for
    Unix time, so that nonces outlive a restart.  ``largest_count``: nonces whose uses are kept;
    beyond, the oldest are taken for stale.  Servers that share a key don't see each other's uses.
    """

    def __init__(
        self,
        key: bytes,
        random: RandomBytes,
        *,
        unix_offset: float,
        lifetime: float = 300.0,
        largest_count: int = 100_000,
    ) -> None:
        if len(key) < 16 or lifetime <= 0 or largest_count < 1:
            raise MisuseError("nonces need a key of 16 bytes, a lifetime, and room")
        self._key = key
        self._random = random
        self._offset = unix_offset
        self._lifetime = lifetime
        self._largest_count = largest_count
        self._uses: OrderedDict[str, _Uses] = OrderedDict()
        self._forgotten_until = 0.0

    def __len__(self) -> int:
        return len(self._uses)

    def issue(self, realm: str, now: float) -> str:
        """A new nonce for ``realm``."""
        head = _HEAD.pack(now + self._offset, self._random(8))
        return b64encode(head + self._proof(head, realm)).decode("ascii")

    def knows(self, nonce: str, realm: str) -> bool:
        """Whether a nonce was issued here for ``realm``, however long ago."""
        return self._made_at(nonce, realm) is not None

    def use(self, nonce: str, realm: str, count: int | None, now: float) -> Verdict:
        """Judge a nonce that came with a right proof, and take note of ``count``.

        Each count is good once; without one, as RFC 2069's clients send none, the nonce is.
        """
        made = self._made_at(nonce, realm)
        if made is None:
            return Verdict.FORGED
        if not 0 <= now + self._offset - made <= self._lifetime:
            return Verdict.STALE
        uses = self._uses.get(nonce)
        if uses is None:
            if made <= self._forgotten_until:
                return Verdict.STALE
            self._remember(nonce, _Uses(count or 1, 1))
            return Verdict.GOOD
        if count is None or not _takes(uses, count):
            return Verdict.STALE
        return Verdict.GOOD

    def _remember(self, nonce: str, uses: _Uses) -> None:
        self._uses[nonce] = uses
        if len(self._uses) > self._largest_count:
            forgotten, _ = self._uses.popitem(last=False)
            made = _HEAD.unpack_from(b64decode(forgotten))[0]
            # What is no longer known to be used must not be taken for new.
            self._forgotten_until = max(self._forgotten_until, made)

    def _made_at(self, nonce: str, realm: str) -> float | None:
        try:
            packed = b64decode(nonce.encode("ascii"), validate=True)
        except (Error, ValueError):
            return None
        if len(packed) != _HEAD.size + _PROOF_SIZE:
            return None
        head, proof = packed[: _HEAD.size], packed[_HEAD.size :]
        if not hmac.compare_digest(proof, self._proof(head, realm)):
            return None
        made: float = _HEAD.unpack(head)[0]
        return made

    def _proof(self, head: bytes, realm: str) -> bytes:
        return hmac.digest(self._key, head + realm.encode(), "sha256")[:_PROOF_SIZE]


def _takes(uses: _Uses, count: int) -> bool:
    """Whether ``count`` is new, by a window below the highest one."""
    ahead = count - uses.highest
    if ahead > 0:
        uses.seen = ((uses.seen << min(ahead, _WINDOW)) | 1) & ((1 << _WINDOW) - 1)
        uses.highest = count
        return True
    if ahead <= -_WINDOW or uses.seen >> -ahead & 1:
        return False
    uses.seen |= 1 << -ahead
    return True
