"""Binding: where a client is seen from (RFC 8489 §6.3, and RFC 3489 §8.1 for classic clients)."""

from natkit.machine import Path
from natkit.stun.attributes import (
    ChangeRequest,
    MappedAddress,
    UnknownAttributes,
    XorMappedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import AttributeType, StunError
from stun_server.outcome import Outcome, Refusal, Success

# What may stand in a Binding request without asking for anything: credentials, which this usage
# does not check, and RFC 3489's flags as long as none is set.
UNDERSTOOD = frozenset(
    {
        AttributeType.CHANGE_REQUEST,
        AttributeType.USERNAME,
        AttributeType.USERHASH,
        AttributeType.REALM,
        AttributeType.NONCE,
        AttributeType.MESSAGE_INTEGRITY,
        AttributeType.MESSAGE_INTEGRITY_SHA256,
        AttributeType.PASSWORD_ALGORITHM,
    }
)


def binding(request: Message, path: Path) -> Outcome:
    """Answer with the client's address alone: nothing else is worth sending to a stranger."""
    # RFC 8489 §6.3.1
    unknown = request.unknown_required(UNDERSTOOD)
    change = request.get(ChangeRequest)
    if change is not None and (change.change_ip or change.change_port):
        # RFC 5780 §7.2: a server that cannot answer from elsewhere does not understand it.
        unknown += (AttributeType.CHANGE_REQUEST,)
    if unknown:
        return Refusal(
            StunError.UNKNOWN_ATTRIBUTE, "unknown attributes", (UnknownAttributes(unknown),)
        )
    # RFC 8489 §6.3.1.1, and RFC 3489 §8.1 for who knows no XOR-MAPPED-ADDRESS.
    if request.is_classic:
        return Success((MappedAddress(path.remote),))
    return Success((XorMappedAddress(path.remote),))
