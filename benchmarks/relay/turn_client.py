"""A TURN client that does as little as it can: it must not be what is measured."""

import os
import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    ErrorCode,
    Lifetime,
    Nonce,
    Realm,
    RequestedTransport,
    Username,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import (
    CHANNEL_FIRST,
    HEADER_LENGTH,
    TRANSACTION_ID_LENGTH,
    UDP_PROTOCOL,
    MessageClass,
    Method,
)

ATTEMPTS = 5
PATIENCE = 1.0
_LARGEST_ANSWER = 2048
# Each client has a loopback address of its own: coturn remembers 5-tuples for a while after their
# allocation has been deleted.
_hosts = (
    f"127.{high}.{middle}.{low}"
    for high in range(1, 255)
    for middle in range(256)
    for low in range(1, 255)
)


class BenchmarkError(Exception):
    """A server did not do what it is measured by."""


class Way(Protocol):
    """How a client's messages reach the server, one at a time."""

    def send(self, message: bytes) -> None:
        """Send one."""
        ...

    def receive(self) -> bytes:
        """Receive one; TimeoutError when none comes."""
        ...


class _Datagrams:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def receive(self) -> bytes:
        return self._socket.recv(_LARGEST_ANSWER)


class _Stream:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, message: bytes) -> None:
        self._socket.sendall(message)

    def receive(self) -> bytes:
        header = self._read(4)
        length = int.from_bytes(header[2:], "big")
        is_stun = header[0] < 4
        return header + self._read(length + HEADER_LENGTH - 4 if is_stun else length + -length % 4)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._socket.recv(length - len(data))
            if not more:
                raise BenchmarkError("the server ended a connection")
            data += more
        return data


class Asker:
    """Makes the requests of one client; RFC 5389's long-term credentials."""

    def __init__(self, username: str, password: str) -> None:
        self._username = username
        self._password = password
        self._credentials: tuple[Attribute, ...] = ()
        self._key: IntegrityKey | None = None

    def request(self, method: Method, *attributes: Attribute) -> bytes:
        """A request, with credentials once the server has asked for them."""
        message = Message.request(
            method, os.urandom(TRANSACTION_ID_LENGTH), *attributes, *self._credentials
        )
        return message.encode(integrity=self._key)

    def allocate_request(self) -> bytes:
        """An Allocate request."""
        return self.request(Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL))

    def channel_request(self, peer: Address) -> bytes:
        """A request that binds the first channel to ``peer``, and permits it."""
        return self.request(Method.CHANNEL_BIND, ChannelNumber(CHANNEL_FIRST), XorPeerAddress(peer))

    def challenged(self, answer: bytes) -> None:
        """Take realm and nonce from a 401 or 438."""
        message = Message.parse(answer)
        realm, nonce = message.get(Realm), message.get(Nonce)
        if realm is None or nonce is None:
            raise BenchmarkError(f"no challenge but {message}")
        self._credentials = (Username(self._username), realm, nonce)
        self._key = IntegrityKey(long_term_key(self._username, realm.value, self._password))


class Client(Asker):
    """One client with an allocation of its own.

    Over TLS and DTLS somebody else shakes hands on its socket and then sets ``way``.
    """

    def __init__(
        self,
        server: Address,
        username: str,
        password: str,
        transport: Transport = Transport.UDP,
    ) -> None:
        super().__init__(username, password)
        is_stream = transport in (Transport.TCP, Transport.TLS)
        self.socket = socket.socket(
            socket.AF_INET, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM
        )
        self.socket.bind((next(_hosts), 0))
        self.socket.connect(server)
        # What is secure belongs to who shakes hands, without a time limit.
        self.socket.settimeout(None if transport.is_secure else PATIENCE)
        self.way: Way = _Stream(self.socket) if is_stream else _Datagrams(self.socket)
        self._transport = transport

    def call(self, method: Method, *attributes: Attribute) -> Message:
        """Ask until the server answers with success."""
        for _ in range(ATTEMPTS):
            answer = self._answer(self.request(method, *attributes))
            if answer is None:
                continue
            message = Message.parse(answer)
            if message.message_class is MessageClass.SUCCESS_RESPONSE:
                return message
            if message.get(Nonce) is None:
                raise BenchmarkError(f"{method.name} got {message.get(ErrorCode)}")
            self.challenged(answer)
        raise BenchmarkError(f"{method.name} found no answer")

    def _answer(self, request: bytes) -> bytes | None:
        """The answer to ``request``; data that is still on its way is passed over."""
        self.way.send(request)
        try:
            while True:
                answer = self.way.receive()
                if answer[8:20] == request[8:20]:
                    return answer
        except TimeoutError:
            return None

    def allocate(self) -> Address:
        """Allocate; the relayed address."""
        return relayed_address(self.call(Method.ALLOCATE, RequestedTransport(UDP_PROTOCOL)))

    def bind_channel(self, peer: Address) -> None:
        """Bind the first channel to ``peer``, and permit it."""
        self.call(Method.CHANNEL_BIND, ChannelNumber(CHANNEL_FIRST), XorPeerAddress(peer))

    def permit(self, peer: Address) -> None:
        """Permit ``peer`` without a channel."""
        self.call(Method.CREATE_PERMISSION, XorPeerAddress(peer))

    def close(self) -> None:
        """Delete the allocation and close the socket; a connection takes its allocation along."""
        if self._key is not None and self._transport is Transport.UDP:
            self.call(Method.REFRESH, Lifetime(0))
        self.socket.close()


def relayed_address(message: Message) -> Address:
    """What an Allocate success names."""
    relayed = message.get(XorRelayedAddress)
    if relayed is None:
        raise BenchmarkError(f"no relayed address in {message}")
    return relayed.address


def exchange(
    clients: Sequence[Client], requests: Sequence[bytes], together: int
) -> tuple[list[bytes], float]:
    """Send each client's request and receive its answer, ``together`` at a time; the seconds.

    Nothing else happens meanwhile: the requests are made before, the answers are read after.
    """
    answers: list[bytes] = []
    start = perf_counter()
    for first in range(0, len(clients), together):
        some = clients[first : first + together]
        for client, request in zip(some, requests[first : first + together], strict=True):
            client.socket.send(request)
        try:
            answers += [client.socket.recv(_LARGEST_ANSWER) for client in some]
        except TimeoutError:
            raise BenchmarkError("a request was lost on loopback") from None
    return answers, perf_counter() - start


def timed_allocations(clients: Sequence[Client], together: int) -> float:
    """Allocate for every client, the challenge included; the seconds that it took."""

    def each(make: Callable[[Client], bytes]) -> tuple[list[bytes], float]:
        return exchange(clients, [make(client) for client in clients], together)

    challenges, first = each(Client.allocate_request)
    for client, answer in zip(clients, challenges, strict=True):
        client.challenged(answer)
    answers, second = each(Client.allocate_request)
    for answer in answers:
        relayed_address(Message.parse(answer))
    return first + second
