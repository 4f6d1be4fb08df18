"""What a method's handler returns: the answer to send, and what happened; it never sends."""

from typing import NamedTuple

from natkit.stun.attributes import Attribute
from natkit.stun.registry import StunError
from stun_server.events import ServerEvent


class Success(NamedTuple):
    """The request succeeds with these attributes."""

    attributes: tuple[Attribute, ...] = ()
    events: tuple[ServerEvent, ...] = ()


class Refusal(NamedTuple):
    """The request fails; the client gets the code's own phrase.

    ``reason`` is a line for the log; empty, the refusal is routine and no event.
    """

    code: StunError
    reason: str
    attributes: tuple[Attribute, ...] = ()
    events: tuple[ServerEvent, ...] = ()


Outcome = Success | Refusal
