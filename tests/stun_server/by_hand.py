"""A client that speaks to a server by hand, with no machine and no retransmission."""

import socket
from itertools import count

from natkit.address import Address
from natkit.stun.attributes import Attribute, ErrorCode, Nonce, Realm, Username
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Method
from tests.stun_server.process import LIMIT, PASSWORD, USER

__all__ = ["HandClient", "code_of"]

REALM = "natkit"


class HandClient:
    """A client that speaks to the server by hand, so that nothing of ours stands between."""

    def __init__(self, listener: Address, port: int = 0) -> None:
        family = listener.family.socket_family
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(LIMIT)
        self.socket.bind(("", port))
        self.socket.connect(listener)
        self._ids = count(1)
        self._nonce = b""
        self._key = IntegrityKey(long_term_key(USER, REALM, PASSWORD))

    def close(self) -> None:
        self.socket.close()

    def request(self, method: Method, *attributes: Attribute) -> Message:
        """The answer to an authenticated request."""
        response = self._exchange(method, attributes)
        if not self._nonce:
            nonce = response.get(Nonce)
            assert nonce is not None
            self._nonce = nonce.value
            response = self._exchange(method, attributes)
        return response

    def _exchange(self, method: Method, attributes: tuple[Attribute, ...]) -> Message:
        transaction_id = next(self._ids).to_bytes(12, "big")
        key = None
        if self._nonce:
            attributes += (Username(USER), Realm(REALM), Nonce(self._nonce))
            key = self._key
        message = Message.request(method, transaction_id, *attributes)
        self.socket.send(message.encode(integrity=key))
        while True:
            answer = Message.parse(self.socket.recv(65_535))
            if answer.transaction_id == transaction_id:
                return answer

    def throw(self, data: bytes) -> None:
        """Send what gets no answer."""
        self.socket.send(data)

    def hear(self) -> bytes:
        """What comes next."""
        return self.socket.recv(65_535)


def code_of(response: Message) -> int | None:
    """The error of a response, or None."""
    error = response.get(ErrorCode)
    return error.code if error is not None else None
