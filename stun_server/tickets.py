"""Mobility tickets: what lets a client come back to its allocation from elsewhere (RFC 8016 §3.1).

A ticket is sealed with a key that all workers of a server have: any of them can tell whose it is,
nobody else can read it or make one.  It names an allocation, and each is good only until the next
one has been taken up.
"""

import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from natkit.machine import Path, RandomBytes

TICKET_LENGTH = 32
"""Characters: turnutils_uclient keeps a ticket as a text of no more."""

# The synthetic vector of RFC 5297 §2 takes 16 of the 24 bytes that 32 characters of base64 hold.
NUMBER_LENGTH = 5
SERIAL_LENGTH = 2

_PURPOSE = b"natkit mobility ticket"


@dataclass(slots=True)
class Mobile:
    """How far an allocation is with moving; only those have one whose client asked for a ticket.

    ``arriving`` is the 5-tuple that the client announced and has not used yet.  Until it does, the
    ticket that announced it stays good beside the new one, for the answer may have been lost.
    """

    ticket: bytes
    previous: bytes | None = None
    arriving: Path | None = None
    detached: bool = False
    """Whether the client's connection ended, so that it can only be elsewhere."""


class Ticket(NamedTuple):
    """What a ticket says: the worker that has the allocation, and its number there."""

    worker: int
    allocation_id: int


class Tickets:
    """Makes and reads tickets; ``key`` may serve other purposes too.

    They are sealed by AES-SIV (RFC 5297), which needs no nonce, and so no room for one.
    """

    def __init__(self, key: bytes, worker: int, random: RandomBytes) -> None:
        self._sealing = AESSIV(hmac.digest(key, _PURPOSE, "sha512"))
        self._worker = worker
        self._random = random

    def make(self, allocation_id: int, instead_of: bytes | None = None) -> bytes:
        """A ticket for an allocation of this worker, other than the one ``instead_of``."""
        number = (allocation_id % (1 << 8 * NUMBER_LENGTH)).to_bytes(NUMBER_LENGTH, "big")
        while True:
            text = bytes((self._worker,)) + number + self._random(SERIAL_LENGTH)
            ticket = b64encode(self._sealing.encrypt(text, None))
            if ticket != instead_of:
                return ticket

    def read(self, ticket: bytes) -> Ticket | None:
        """What a ticket says; None for one that no worker of this server made."""
        if len(ticket) != TICKET_LENGTH:
            return None
        try:
            text = self._sealing.decrypt(b64decode(ticket, validate=True), None)
        except (ValueError, InvalidTag):
            return None
        return Ticket(text[0], int.from_bytes(text[1 : 1 + NUMBER_LENGTH], "big"))
