"""Challenges, given to strangers without the rest of the machine: a plane asks for them in a flood.

Implements :class:`~natkit.relay.plane.Greeter`.  The machine gives the same answers to the same
bytes, as a test asserts.
"""

from natkit.stun.registry import HEADER_LENGTH, TRANSACTION_ID_LENGTH
from stun_server.answers import Answers
from stun_server.pending import Pending
from stun_server.plain_allocate import is_plain
from stun_server.realms import Realms
from stun_server.strangers import Strangers

__all__ = ["Greeting"]


class Greeting:
    """What the machine has that matters here; ``realms`` change with its configuration."""

    def __init__(
        self, realms: Realms, strangers: Strangers, answers: Answers, pending: Pending
    ) -> None:
        self.realms = realms
        self._strangers = strangers
        self._answers = answers
        self._pending = pending

    def greet(self, data: bytes, client: bytes, now: float) -> bytes | None:
        """The challenge that a plain Allocate gets; empty for none, None for the machine to say."""
        # Where there is a choice of realms, its ORIGIN must be read.
        if not (self.realms.is_one and is_plain(data)):
            return None
        # It may be a retransmission.
        if self._pending.kept or self._answers.may_have_been(
            data[HEADER_LENGTH - TRANSACTION_ID_LENGTH : HEADER_LENGTH]
        ):
            return None
        host = client[2:]
        if not self._strangers.hears_host(host, now):
            return b""
        challenge = self.realms.default.authentication.greet(data, client, now)
        fits = self._strangers.limits.may_answer(host, len(data), len(challenge), now)
        return challenge if fits else b""
