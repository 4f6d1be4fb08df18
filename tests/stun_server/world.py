"""A server machine whose shell is the test, and clients that speak to it by direct calls."""

import random
from dataclasses import dataclass, field
from typing import TypeVar

from natkit.address import Address
from natkit.machine import CloseSocket, Failure, OpenSocket, Path, Transmit, Transport
from natkit.stun.attributes import (
    Attribute,
    ErrorCode,
    Nonce,
    Origin,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    RequestedTransport,
    UserHash,
    Username,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.credentials import long_term_key, user_hash
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import Integrity, Method, PasswordAlgorithmNumber
from stun_server.authentication import Credential
from stun_server.connection_events import ConnectPeer, ListenForPeers, Listening, StopListening
from stun_server.events import FindCredential, ServerEvent
from stun_server.service import Server
from stun_server.settings import Settings
from stun_server.sharing import Sharing

REALM = "example.org"
LISTENER = Address("198.51.100.1", 3478)
LISTENER6 = Address("2001:db8::1", 3478)
PEER = Address("8.8.8.8", 5000)
OTHER_PEER = Address("9.9.9.9", 5000)
PEER6 = Address("2600::1", 5000)

SETTINGS = Settings(
    realm=REALM,
    nonce_key=b"0123456789abcdef0123456789abcdef",
    listeners=(LISTENER, LISTENER6),
    software="",
)

E = TypeVar("E")


def credential(username: str, password: str, realm: str = REALM) -> Credential:
    """What a store holds of a user."""
    return Credential(
        username,
        long_term_key(username, realm, password),
        long_term_key(username, realm, password, PasswordAlgorithmNumber.SHA_256),
        realm=realm,
    )


class World:
    """The machine, its clock, its sockets and its users; requests are answered at once.

    ``hold_sockets`` and ``hold_lookups`` leave them for the test to answer.  Connections to peers
    are the test's to answer always.
    """

    def __init__(
        self, settings: Settings = SETTINGS, *, seed: int = 1, sharing: Sharing | None = None
    ) -> None:
        self.settings = settings
        self.random = random.Random(seed)
        self.now = 1000.0
        self.server = Server(
            self.settings,
            random=self.random.randbytes,
            unix_offset=1_700_000_000.0,
            sharing=sharing,
        )
        self.users = {name: credential(name, "secret") for name in ("alice", "bob")}
        self.sockets: set[Address] = set()
        self.foreign_sockets: set[Address] = set()
        self.refuse_sockets: Failure | None = None
        self.hold_sockets = False
        self.hold_lookups = False
        self.store_failure: Failure | None = None
        self.opened: list[OpenSocket | ListenForPeers] = []
        self.lookups: list[FindCredential] = []
        self.events: list[ServerEvent] = []

    def client(
        self,
        host: str = "192.0.2.7",
        port: int = 40000,
        *,
        transport: Transport = Transport.UDP,
        username: str = "alice",
        algorithm: PasswordAlgorithmNumber | None = None,
    ) -> "Client":
        """A client at an address, with the listener of its family."""
        return Client(self, Address(host, port), transport, username, algorithm=algorithm)

    def receive(self, data: bytes, path: Path) -> list[Transmit]:
        """Give the machine bytes; what it sends because of them."""
        self.server.receive(data, path, self.now)
        return self.drain()

    def wait(self, seconds: float) -> list[Transmit]:
        """Let time pass, the timer firing whenever it is due."""
        end = self.now + seconds
        sent = []
        while (due := self.server.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.server.handle_timer(self.now)
            sent += self.drain()
        self.now = end
        return sent

    def drain(self) -> list[Transmit]:
        """Do the shell's duty; what the machine sends."""
        sent = list(self.server.transmits())
        while (event := self.server.next_event()) is not None:
            match event:
                case OpenSocket() | ListenForPeers():
                    self.opened.append(event)
                    if not self.hold_sockets:
                        self.answer_socket(event)
                case FindCredential():
                    self.lookups.append(event)
                    if not self.hold_lookups:
                        self.answer_lookup(event)
                case CloseSocket() | StopListening():
                    self.sockets.remove(event.local)
                    self.events.append(event)
                case _:
                    self.events.append(event)
            sent += self.server.transmits()
        return sent

    def answer_socket(self, request: OpenSocket | ListenForPeers) -> None:
        """Bind what was asked for, unless it is taken."""
        result: Address | Listening | Failure = request.local
        if isinstance(request, ListenForPeers):
            result = Listening(request.local)
        if self.refuse_sockets is not None:
            result = self.refuse_sockets
        elif request.local in self.sockets | self.foreign_sockets:
            result = Failure("in use", address_in_use=True)
        else:
            self.sockets.add(request.local)
        self.server.answer(request.request_id, result, self.now)

    def answer_connect(
        self, request: ConnectPeer, failure: Failure | None = None
    ) -> list[Transmit]:
        """The peer was reached, or was not; what the machine sends."""
        path = Path(Transport.TCP, request.local, request.peer)
        self.server.answer(request.request_id, failure or path, self.now)
        return self.drain()

    def answer_lookup(self, request: FindCredential) -> None:
        """Look the user up."""
        found = self.users.get(request.username or "")
        if request.username is None:
            hashes = {user_hash(name, REALM): known for name, known in self.users.items()}
            found = hashes.get(request.userhash or b"")
        self.server.answer(request.request_id, self.store_failure or found, self.now)

    def take_events(self, kind: type[E]) -> list[E]:
        """The events of a kind since the last call; others stay."""
        taken: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    def from_peer(self, data: bytes, peer: Address, relayed: Address) -> list[Transmit]:
        """A peer sends a datagram to a relayed address."""
        return self.receive(data, Path(Transport.UDP, relayed, peer))


@dataclass
class Client:
    """One 5-tuple and one user; ``algorithm`` None is a client of RFC 5389."""

    world: World
    address: Address
    transport: Transport = Transport.UDP
    username: str = "alice"
    password: str = "secret"
    algorithm: PasswordAlgorithmNumber | None = None
    anonymous: bool = False
    listener: Address | None = None
    realm: str = REALM
    origin: str | None = None
    nonce: bytes | None = None
    offered: PasswordAlgorithms | None = None
    sent: list[bytes] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The 5-tuple as the server sees it."""
        default = LISTENER if ":" not in self.address.host else LISTENER6
        return Path(self.transport, self.listener or default, self.address)

    def transaction_id(self) -> bytes:
        """A fresh one."""
        return self.world.random.randbytes(12)

    def challenge(self, method: Method = Method.ALLOCATE) -> Message:
        """Learn the nonce by a request without credentials."""
        message = Message.request(method, self.transaction_id(), *self.origins())
        response = self.exchange(message.encode())
        nonce = response.get(Nonce)
        assert nonce is not None
        self.nonce, self.offered = nonce.value, response.get(PasswordAlgorithms)
        return response

    def key(self) -> IntegrityKey:
        """What protects this client's requests."""
        algorithm = self.algorithm or PasswordAlgorithmNumber.MD5
        key = long_term_key(self.username, self.realm, self.password, algorithm)
        return IntegrityKey(key, Integrity.SHA1 if self.algorithm is None else Integrity.SHA256)

    def credentials(self) -> tuple[Attribute, ...]:
        """The attributes of an authenticated request."""
        if self.nonce is None:
            self.challenge()
        assert self.nonce is not None
        user: Attribute = Username(self.username)
        if self.anonymous:
            user = UserHash(user_hash(self.username, self.realm))
        attributes: tuple[Attribute, ...] = (user, Realm(self.realm), Nonce(self.nonce))
        if self.algorithm is not None:
            assert self.offered is not None
            attributes += (self.offered, PasswordAlgorithm(self.algorithm))
        return attributes

    def origins(self) -> tuple[Attribute, ...]:
        """What a browser adds about the page that it shows."""
        return () if self.origin is None else (Origin(self.origin),)

    def form(self, method: Method, *attributes: Attribute) -> bytes:
        """An authenticated request in bytes."""
        extra = (*attributes, *self.origins())
        message = Message.request(method, self.transaction_id(), *extra, *self.credentials())
        return message.encode(integrity=self.key())

    def exchange(self, data: bytes) -> Message:
        """Send bytes and parse the one answer that comes back on the same path."""
        (answer,) = self.send(data)
        assert answer.path == self.path
        return Message.parse(answer.data)

    def send(self, data: bytes) -> list[Transmit]:
        """Send bytes; what the server sends because of them."""
        self.sent.append(data)
        return self.world.receive(data, self.path)

    def request(self, method: Method, *attributes: Attribute) -> Message:
        """An authenticated request and its answer."""
        return self.exchange(self.form(method, *attributes))

    def allocate(self, *attributes: Attribute) -> Address:
        """Allocate for UDP; the relayed address."""
        response = self.request(Method.ALLOCATE, RequestedTransport(17), *attributes)
        relayed = response.get(XorRelayedAddress)
        assert relayed is not None, response
        return relayed.address

    def permit(self, *peers: Address) -> Message:
        """CreatePermission and its answer."""
        return self.request(Method.CREATE_PERMISSION, *map(XorPeerAddress, peers))


def code(response: Message) -> int | None:
    """The error code of a response, None for success."""
    error = response.get(ErrorCode)
    return error.code if error is not None else None
