"""Binding: where a client is seen from (RFC 8489 §6.3, and RFC 3489 §8.1 for classic clients).

On the listeners of NAT behaviour discovery also what RFC 5780 §6 adds: who answers, from where and
to where, and how large the answer is.
"""

from collections.abc import Mapping

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ChangedAddress,
    ChangeRequest,
    MappedAddress,
    OtherAddress,
    Padding,
    ResponseOrigin,
    ResponsePort,
    SourceAddress,
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

# RFC 3489 knows neither; over a connection there is no other port to answer to.
_UNDERSTOOD_IN_DISCOVERY = UNDERSTOOD | {AttributeType.PADDING, AttributeType.RESPONSE_PORT}

LARGEST_PADDING = 1_500
"""Bytes of PADDING in an answer: enough to be fragmented on an Ethernet (RFC 5780 §7.6), whatever a
datagram on a loopback interface asks for."""


def binding(
    request: Message, path: Path, others: Mapping[tuple[Transport, Address], Address]
) -> tuple[Outcome, Path]:
    """The answer and its path: the client's address alone, unless ``others`` has the listener.

    ``others`` are those of Settings; more than the address is worth nothing to a stranger.
    """
    other = others.get((path.transport, path.local))
    discovers = other is not None and path.transport is Transport.UDP
    understood = UNDERSTOOD
    if discovers and not request.is_classic:
        understood = _UNDERSTOOD_IN_DISCOVERY
    # RFC 8489 §6.3.1
    unknown = request.unknown_required(understood)
    change = request.get(ChangeRequest) or ChangeRequest()
    if (change.change_ip or change.change_port) and not discovers:
        # RFC 5780 §6.1: a server that cannot answer from elsewhere does not understand it.
        unknown += (AttributeType.CHANGE_REQUEST,)
    if unknown:
        return (
            Refusal(
                StunError.UNKNOWN_ATTRIBUTE, "unknown attributes", (UnknownAttributes(unknown),)
            ),
            path,
        )
    if other is None:
        # RFC 8489 §6.3.1.1, and RFC 3489 §8.1 for who knows no XOR-MAPPED-ADDRESS.
        if request.is_classic:
            return Success((MappedAddress(path.remote),)), path
        return Success((XorMappedAddress(path.remote),)), path
    back = _way_back(path, other, change, request.get(ResponsePort))
    if request.is_classic:
        # RFC 3489 §8.1
        return Success(
            (MappedAddress(path.remote), SourceAddress(back.local), ChangedAddress(other))
        ), back
    return _discovery(request, path, back, other)


def _way_back(
    path: Path, other: Address, change: ChangeRequest, response_port: ResponsePort | None
) -> Path:
    """Where the answer leaves and where it goes (RFC 5780 §6.1, table 1; RFC 3489 §8.1)."""
    local = Address(
        other.host if change.change_ip else path.local.host,
        other.port if change.change_port else path.local.port,
    )
    remote = path.remote
    if response_port is not None:
        remote = remote._replace(port=response_port.port)
    return Path(path.transport, local, remote)


def _discovery(request: Message, path: Path, back: Path, other: Address) -> tuple[Outcome, Path]:
    """What a listener of NAT behaviour discovery answers (RFC 5780 §6.1)."""
    padding = request.get(Padding)
    response_port = request.get(ResponsePort)
    if response_port is not None:
        if padding is not None:
            return Refusal(StunError.BAD_REQUEST, "PADDING with RESPONSE-PORT"), path
        if not response_port.port:
            return Refusal(StunError.BAD_REQUEST, "RESPONSE-PORT 0"), path
    attributes: list[Attribute] = [
        XorMappedAddress(path.remote),
        MappedAddress(path.remote),
        ResponseOrigin(back.local),
        OtherAddress(other),
    ]
    if padding is not None:
        # Not the MTU, as §6.1 recommends: no answer is to be much larger than what asked for it.
        attributes.append(Padding(bytes(min(len(padding.value), LARGEST_PADDING))))
    return Success(tuple(attributes)), back
