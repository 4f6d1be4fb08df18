"""Flow tokens: a path in the user part of a URI of ours, proof that we wrote it (RFC 5626 §5.2).

Each Record-Route of ours carries one, so a request that comes back by it needs no credentials, and
reaches a user agent on the very flow that it is attached by.
"""

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Path, Transport

__all__ = ["FlowToken", "FlowTokens"]

MOST_KNOWN: Final = 4096
"""Tokens that are remembered, as written and as read."""

LONGEST_TOKEN: Final = 64
"""Characters; ten bytes of proof and two IPv6 addresses with their ports have 63."""

_PROOF_SIZE: Final = 10
_TRANSPORTS: Final = tuple(Transport)
_PORT: Final = struct.Struct("!H")
_ATTACHED: Final = 0x80
_IPV6: Final = 0x40
_TRANSPORT_BITS: Final = 0x0F


@dataclass(frozen=True, slots=True)
class FlowToken:
    """``is_attached``: a user agent itself is at the other end, and reached by this flow alone."""

    path: Path
    is_attached: bool


class FlowTokens:
    """Writes and reads tokens with one ``key``, of 16 bytes at the least."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise MisuseError("flow tokens need a key of 16 bytes")
        self._key = key
        # Each flow that carries calls has its tokens read and written many times.
        self._written = lru_cache(MOST_KNOWN)(self._write)
        self._known = lru_cache(MOST_KNOWN)(self._read)

    def write(self, token: FlowToken) -> str:
        """The user part for a URI."""
        return self._written(token)

    def read(self, user: str) -> FlowToken | None:
        """What a user part says, or None for one that we did not write."""
        return self._known(user) if len(user) <= LONGEST_TOKEN else None

    def _write(self, token: FlowToken) -> str:
        local, remote = token.path.local, token.path.remote
        is_ipv6 = len(remote.packed) == 16
        head = _TRANSPORTS.index(token.path.transport)
        head |= (_ATTACHED if token.is_attached else 0) | (_IPV6 if is_ipv6 else 0)
        flow = bytes([head]) + local.packed + _PORT.pack(local.port)
        flow += remote.packed + _PORT.pack(remote.port)
        return urlsafe_b64encode(self._proof(flow) + flow).decode("ascii").rstrip("=")

    def _read(self, user: str) -> FlowToken | None:
        try:
            data = urlsafe_b64decode(user + "=" * (-len(user) % 4))
        except (Error, ValueError):
            return None
        proof, flow = data[:_PROOF_SIZE], data[_PROOF_SIZE:]
        if not flow or not hmac.compare_digest(proof, self._proof(flow)):
            return None
        size = 16 if flow[0] & _IPV6 else 4
        local, remote = flow[1 : 3 + size], flow[3 + size :]
        path = Path(
            _TRANSPORTS[flow[0] & _TRANSPORT_BITS],
            Address.from_packed(local[:size], _PORT.unpack(local[size:])[0]),
            Address.from_packed(remote[:size], _PORT.unpack(remote[size:])[0]),
        )
        return FlowToken(path, bool(flow[0] & _ATTACHED))

    def _proof(self, flow: bytes) -> bytes:
        return hmac.digest(self._key, flow, "sha256")[:_PROOF_SIZE]
