"""STUN without I/O: RFC 8489's messages, credentials, transactions and framing.

The attributes are in :mod:`natkit.stun.attributes`, the wire's numbers in
:mod:`natkit.stun.registry`.
"""

from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message

__all__ = ["IntegrityKey", "Message"]
