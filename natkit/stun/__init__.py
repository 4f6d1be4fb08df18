"""STUN without I/O: RFC 8489's messages, credentials, transactions, framing and URIs.

The attributes are in :mod:`natkit.stun.attributes`, the wire's numbers in
:mod:`natkit.stun.registry`, keys and their checks in :mod:`natkit.stun.credentials`.
"""

from natkit.stun.authentication import Authentication, LongTerm, ShortTerm
from natkit.stun.binding import BindingClient, BindingFailed, Bound
from natkit.stun.conversation import Conversation, Failed, Succeeded
from natkit.stun.framing import StunFraming
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.transaction import Timing
from natkit.stun.uri import Scheme, ServerUri

__all__ = [
    "Authentication",
    "BindingClient",
    "BindingFailed",
    "Bound",
    "Conversation",
    "Failed",
    "IntegrityKey",
    "LongTerm",
    "Message",
    "Scheme",
    "ServerUri",
    "ShortTerm",
    "StunFraming",
    "Succeeded",
    "Timing",
]
