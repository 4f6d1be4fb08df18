"""A user who takes what there is and goes on asking; only for a namespace that a test made.

It allocates from each of its sockets, and then sends over and over what is asked for, from each of
these clients: "requests", all of them rightly signed; "channel-data" on channels that they have not
bound; "send-indications" to peers that they have not permitted.  It stops by itself.  ::

    python -m tests.floods.greedy KIND HOST SERVER:PORT USERNAME PASSWORD SOCKETS RATE SECONDS
"""

import json
import socket
import sys
from collections.abc import Callable

from natkit.address import Address
from natkit.stun.attributes import (
    Attribute,
    Data,
    Lifetime,
    Nonce,
    Realm,
    RequestedTransport,
    Username,
    XorPeerAddress,
)
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, MessageClass, Method
from natkit.turn.channel_data import ChannelData
from tests.floods.raw import datagram, send_evenly

TIMEOUT = 0.5
"""Seconds after which a request is sent again, as clients do."""

_TRIES = 20
_CALL = bytes(160)
"""Data of a telephone call's datagram."""
_PEER = Address("198.51.100.9", 9)


class _Client:
    """One socket, and the user's key."""

    def __init__(self, host: str, server: Address, username: str, password: str) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT)
        self._socket.bind((host, 0))
        self._socket.connect(server)
        self.address = Address(*self._socket.getsockname()[:2])
        self._username, self._password = username, password
        self._credentials: tuple[Attribute, ...] = ()
        self._key: IntegrityKey | None = None
        self._requests = 0

    def form(self, method: Method, *attributes: Attribute) -> bytes:
        """A request, with credentials once there was a challenge."""
        self._requests += 1
        identity = self._requests.to_bytes(12, "big")
        message = Message.request(method, identity, *attributes, *self._credentials)
        return message.encode(integrity=self._key)

    def ask(self, request: bytes) -> Message:
        """Its answer, whatever that is."""
        for _ in range(_TRIES):
            self._socket.send(request)
            try:
                while True:
                    answer = Message.parse(self._socket.recv(2_048))
                    # Not one to an earlier request that was sent again.
                    if answer.transaction_id == request[8:20]:
                        return answer
            except TimeoutError:
                continue
        raise TimeoutError(f"no answer to {self.address}")

    def allocate(self) -> bool:
        """Ask for an allocation; whether there was one."""
        transport = RequestedTransport(UDP_PROTOCOL)
        challenge = self.ask(self.form(Method.ALLOCATE, transport))
        realm, nonce = challenge.get(Realm), challenge.get(Nonce)
        assert realm is not None
        assert nonce is not None
        self._credentials = (Username(self._username), realm, nonce)
        key = long_term_key(self._username, realm.value, self._password)
        self._key = IntegrityKey(key)
        answer = self.ask(self.form(Method.ALLOCATE, transport))
        return answer.message_class is MessageClass.SUCCESS_RESPONSE


def _requests(client: _Client) -> tuple[bytes, ...]:
    return (
        client.form(Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL)),
        client.form(Method.REFRESH, Lifetime(600)),
    )


def _channel_data(_: _Client) -> tuple[bytes, ...]:
    return tuple(ChannelData(number, _CALL).encode(padded=False) for number in (0x4000, 0x4FFF))


def _send_indications(_: _Client) -> tuple[bytes, ...]:
    attributes = (XorPeerAddress(_PEER), Data(_CALL))
    return (Message.indication(Method.SEND, bytes(12), *attributes).encode(),)


KINDS: dict[str, Callable[[_Client], tuple[bytes, ...]]] = {
    "channel-data": _channel_data,
    "requests": _requests,
    "send-indications": _send_indications,
}
"""What each client sends, by name."""


def main(
    kind: str,
    host: str,
    server: str,
    username: str,
    password: str,
    sockets: str,
    rate: str,
    seconds: str,
) -> None:
    """Print how many were allocated, and at the end how many messages were sent after that."""
    destination = Address.parse(server)
    clients = [_Client(host, destination, username, password) for _ in range(int(sockets))]
    allocated = sum([client.allocate() for client in clients])
    print(json.dumps(allocated), flush=True)
    packets = [
        datagram(client.address, destination, message)
        for client in clients
        for message in KINDS[kind](client)
    ]
    print(json.dumps(send_evenly(packets, destination, int(rate), float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
