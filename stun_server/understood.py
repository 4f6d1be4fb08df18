"""The requests of TURN, and the attributes that they may carry (RFC 8489 §14, RFC 8656 §18)."""

from natkit.stun.attributes import KNOWN_ATTRIBUTES
from natkit.stun.message import Message
from natkit.stun.registry import FIRST_COMPREHENSION_OPTIONAL, AttributeType, Method

__all__ = ["TURN_REQUESTS", "UNDERSTOOD", "UNDERSTOOD_WITH_TOKEN", "has_malformed_attribute"]

TURN_REQUESTS = frozenset(
    {
        Method.ALLOCATE,
        Method.REFRESH,
        Method.CREATE_PERMISSION,
        Method.CHANNEL_BIND,
        Method.CONNECT,
        Method.CONNECTION_BIND,
    }
)

UNDERSTOOD = frozenset(
    {
        AttributeType.USERNAME,
        AttributeType.USERHASH,
        AttributeType.REALM,
        AttributeType.NONCE,
        AttributeType.MESSAGE_INTEGRITY,
        AttributeType.MESSAGE_INTEGRITY_SHA256,
        AttributeType.PASSWORD_ALGORITHM,
        AttributeType.CHANNEL_NUMBER,
        AttributeType.LIFETIME,
        AttributeType.XOR_PEER_ADDRESS,
        AttributeType.DATA,
        AttributeType.REQUESTED_ADDRESS_FAMILY,
        AttributeType.EVEN_PORT,
        AttributeType.REQUESTED_TRANSPORT,
        AttributeType.DONT_FRAGMENT,
        AttributeType.RESERVATION_TOKEN,
        AttributeType.CONNECTION_ID,
    }
)
"""The comprehension-required attributes that TURN's requests may carry."""

UNDERSTOOD_WITH_TOKEN = UNDERSTOOD | {AttributeType.ACCESS_TOKEN}
"""The same where an access token is what authenticates (RFC 7635)."""

# Types that the codec gives as UnknownAttribute only when their value is malformed.
_REQUIRED = frozenset(
    int(known.type) for known in KNOWN_ATTRIBUTES if known.type < FIRST_COMPREHENSION_OPTIONAL
)


def has_malformed_attribute(message: Message) -> bool:
    """Whether the codec knows the type of an attribute and could not read its value."""
    unrecognized = message.unrecognized
    return bool(unrecognized) and any(each.type in _REQUIRED for each in unrecognized)
