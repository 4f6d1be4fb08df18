"""An Allocate without credentials, answered from its bytes.

Every conversation begins with one, and strangers can send as many as they like, so it is to cost
little: nothing is parsed and nothing made but the nonce.  The general path gives the same answer to
the same bytes, which a test asserts.
"""

from collections.abc import Callable
from struct import Struct

from natkit.stun.attributes import Attribute, ErrorCode, Nonce, RequestedTransport
from natkit.stun.message import Message
from natkit.stun.registry import (
    FIRST_COMPREHENSION_OPTIONAL,
    HEADER_LENGTH,
    MAGIC_COOKIE,
    TRANSACTION_ID_LENGTH,
    UDP_PROTOCOL,
    AttributeType,
    MessageClass,
    Method,
    StunError,
    message_type,
)

__all__ = ["PlainAllocate", "is_plain"]

_HEADER = Struct("!HHI").unpack_from
_TYPE_AND_LENGTH = Struct("!HH").unpack_from
_ALLOCATE = message_type(Method.ALLOCATE, MessageClass.REQUEST)
_FINGERPRINT = int(AttributeType.FINGERPRINT)

# What most clients send: REQUESTED-TRANSPORT and nothing else.
_USUAL = Message.request(
    Method.ALLOCATE, bytes(TRANSACTION_ID_LENGTH), RequestedTransport(UDP_PROTOCOL)
).encode()
_USUAL_SIZE = len(_USUAL)
_USUAL_HEAD = _USUAL[: HEADER_LENGTH - TRANSACTION_ID_LENGTH]
_USUAL_BODY = _USUAL[HEADER_LENGTH:]

# Required types that clients send with their first request, by the one length that is not
# malformed.  What else is required may change the answer, so it is the general path's.
_LENGTHS: dict[int, int] = {
    AttributeType.LIFETIME: 4,
    AttributeType.REQUESTED_ADDRESS_FAMILY: 4,
    AttributeType.EVEN_PORT: 1,
    AttributeType.REQUESTED_TRANSPORT: 4,
    AttributeType.DONT_FRAGMENT: 0,
}


def is_plain(data: bytes) -> bool:
    """Whether this is a well-formed Allocate request that holds no credentials.

    False as well for one that has what the general path must look at.
    """
    size = len(data)
    if size == _USUAL_SIZE and data[:8] == _USUAL_HEAD and data[HEADER_LENGTH:] == _USUAL_BODY:
        return True
    if size < HEADER_LENGTH or size % 4:
        return False
    kind, length, cookie = _HEADER(data)
    if kind != _ALLOCATE or length != size - HEADER_LENGTH or cookie != MAGIC_COOKIE:
        return False
    offset = HEADER_LENGTH
    while offset < size:
        number, length = _TYPE_AND_LENGTH(data, offset)
        if _LENGTHS.get(number) != length and (
            # RFC 8489 §14: what is optional does not matter yet, whatever its value.
            number < FIRST_COMPREHENSION_OPTIONAL or number == _FINGERPRINT
        ):
            return False
        offset += 4 + length + (-length & 3)
    return offset == size


class PlainAllocate:
    """Makes the answers: a 401 with ``challenge``, in which each client has its own nonce.

    ``nonce`` makes that of a client at a time in Unix seconds; all have as many bytes.  A client is
    its port and its IP address in network order.
    """

    def __init__(
        self,
        realm: Attribute,
        offer: tuple[Attribute, ...],
        nonce: Callable[[bytes, int], bytes],
    ) -> None:
        self._nonce = nonce
        # A whole answer, cut where what differs stands in it.
        template = Message.request(Method.ALLOCATE, bytes(TRANSACTION_ID_LENGTH))
        some = nonce(bytes(6), 0)
        error = ErrorCode(StunError.UNAUTHENTICATED)
        answer = template.error(error, realm, Nonce(some), *offer).encode()
        before, _, self._after = answer.rpartition(some)
        self._before_id = before[: HEADER_LENGTH - TRANSACTION_ID_LENGTH]
        self._before_nonce = before[HEADER_LENGTH:]

    def answer(self, data: bytes, client: bytes, time: int) -> bytes:
        """The answer to a plain request of ``client`` at a time in Unix seconds."""
        transaction_id = data[HEADER_LENGTH - TRANSACTION_ID_LENGTH : HEADER_LENGTH]
        return b"".join(
            (
                self._before_id,
                transaction_id,
                self._before_nonce,
                self._nonce(client, time),
                self._after,
            )
        )
