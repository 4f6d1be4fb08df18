"""A change of the client's address under way: the new path, until the server has agreed (RFC 8016).

The allocation itself goes on by its old path meanwhile, as far as there is one.
"""

from typing import Final

from natkit.errors import AllocationMismatch, MalformedMessage, NatkitError
from natkit.machine import Path, RequestId, Transmit
from natkit.stun.attributes import MobilityTicket
from natkit.stun.authentication import Authentication
from natkit.stun.conversation import Conversation, Succeeded
from natkit.stun.message import Message
from natkit.turn.requests import Purpose, Refresh, form

LINGER: Final = 5.0
"""Seconds for which what is still under way on the old path is taken, once there is a new one."""

__all__ = ["LINGER", "Move"]


class Move:
    """One attempt to present a ticket from another 5-tuple.

    ``reason`` is what made it necessary, if anything did: with that the allocation ends when the
    move fails.  ``left_over`` are requests that the old path could not serve any more.
    """

    def __init__(self, request_id: RequestId, reason: NatkitError | None) -> None:
        self.request_id = request_id
        self.reason = reason
        self.path: Path | None = None
        self.started_at = 0.0
        self.left_over: list[Purpose] = []
        self.authentication: Authentication | None = None
        self.conversation: Conversation | None = None

    def begin(
        self,
        path: Path,
        authentication: Authentication,
        conversation: Conversation,
        refresh: Refresh,
        now: float,
    ) -> None:
        """The path is there: ask the server."""
        self.path = path
        self.authentication = authentication
        self.conversation = conversation
        self.started_at = now
        conversation.request(*form(refresh), now)

    def receive(self, message: Message, now: float) -> bool:
        """Take a response; False when it answers nothing that was asked."""
        return self.conversation is not None and self.conversation.receive(message, now)

    def handle_timer(self, now: float) -> None:
        """Retransmit."""
        if self.conversation is not None:
            self.conversation.handle_timer(now)

    def next_deadline(self) -> float | None:
        """When to."""
        return None if self.conversation is None else self.conversation.next_deadline()

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent on the new path."""
        if self.path is None or self.conversation is None:
            return []
        return [Transmit(data, self.path) for data in self.conversation.transmits()]

    def outcome(self) -> Message | NatkitError | None:
        """How it ended, if it did: a success response holds another ticket."""
        ended = None if self.conversation is None else self.conversation.next_outcome()
        if ended is None:
            return None
        if not isinstance(ended, Succeeded):
            return ended.error
        if not ticket_of(ended.response):
            return MalformedMessage("the server gave no other mobility ticket")
        return ended.response


def ticket_of(response: Message) -> bytes:
    """The ticket that a success response holds; empty without one (RFC 8016 §3.1.3, §3.2.3)."""
    ticket = response.get(MobilityTicket)
    return b"" if ticket is None else ticket.value


def may_be_elsewhere(error: NatkitError | None) -> bool:
    """Whether a failure may mean that the server sees the client at another address than before."""
    return isinstance(error, AllocationMismatch)
