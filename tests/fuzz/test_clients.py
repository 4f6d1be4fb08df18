"""Hostile servers against our clients: whatever they answer, the machines raise nothing and end."""

import random

import pytest

from natkit.address import Address
from natkit.errors import MisuseError, NatkitError
from natkit.machine import CloseSocket, OpenSocket, Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    Data,
    ErrorCode,
    Lifetime,
    Nonce,
    PasswordAlgorithm,
    PasswordAlgorithms,
    Realm,
    UnknownAttribute,
    XorMappedAddress,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.authentication import LongTerm
from natkit.stun.binding import BindingClient, BindingFailed, Bound
from natkit.stun.credentials import MD5, SHA_256, long_term_key, nonce_cookie
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import (
    REASON_PHRASES,
    Integrity,
    MessageClass,
    Method,
    SecurityFeature,
)
from natkit.turn import Allocation, AllocationState
from natkit.turn.events import AllocateFailed, AllocationLost, DataReceived
from tests.conftest import Sized
from tests.fuzz.datagrams import Hostile

SERVER = Address("198.51.100.1", 3478)
LOCAL = Address("192.0.2.1", 40000)
PATH = Path(Transport.UDP, LOCAL, SERVER)
PEERS = [Address("192.0.2.9", 9), Address("192.0.2.10", 10), Address("2001:db8::9", 9)]
NONCES = (
    b"",
    b"plain",
    nonce_cookie(SecurityFeature(0)),
    nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS),
    nonce_cookie(SecurityFeature(3 << 22)),
    b"obMatJos2====",
    b"\xff" * 763,
)
REALMS = ("example.org", "", '"quoted"', "a\tb", "\u03c0", "r" * 700)
OFFERS = (
    PasswordAlgorithms(()),
    PasswordAlgorithms((MD5,)),
    PasswordAlgorithms((SHA_256, MD5)),
    PasswordAlgorithms((PasswordAlgorithm(99, b"abc"), PasswordAlgorithm(2, b"x"))),
)
MOST_AT_ONCE = 40
"""Messages that one message of a server may set off: ten transactions that begin, and change."""


class HostileServer:
    """Answers requests by chance: challenges, refusals, grants, and nonsense, some of it signed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._request: Message | None = None
        self._noise = iter(Hostile(seed, [Message.request(Method.BINDING, bytes(12)).encode()]))

    def answer(self, request: Message) -> bytes:
        """Some answer to a request, or something else."""
        self._request = request
        match self._random.randrange(12):
            case 0:
                return next(self._noise)
            case 1 | 2:
                return self._mutated(self._signed(request.success(*self._grant())))
            case 3 | 4 | 5:
                return request.error(self._random.choice((401, 438)), *self._challenge()).encode()
            case 6:
                code = self._random.choice((*REASON_PHRASES, 399, 699))
                return self._signed(request.error(ErrorCode(code), *self._nonsense()))
            case 7:
                return self._signed(request.success(*self._nonsense(), *self._grant()))
            case 8:
                return self._unasked()
            case _:
                return self._signed(request.success(*self._grant()))

    def _unasked(self) -> bytes:
        if self._random.random() < 0.5:
            channel = self._random.choice((0x4000, 0x4001, 0x7FFF))
            return channel.to_bytes(2, "big") + b"\0\4data"
        attributes: list[Attribute] = [XorPeerAddress(self._random.choice(PEERS)), Data(b"data")]
        number = self._random.randbytes(12)
        kept = attributes[: self._random.randrange(3)]
        return Message.indication(Method.DATA, number, *kept, *self._nonsense()).encode()

    def _grant(self) -> list[Attribute]:
        port = self._random.randrange(65536)
        lifetime = self._random.choice((0, 1, 600, 3600, 0xFFFFFFFF))
        grant: list[Attribute] = [
            XorRelayedAddress(Address(self._random.choice(PEERS).host, port)),
            XorMappedAddress(LOCAL),
            Lifetime(lifetime),
            ChannelNumber(0x4000),
        ]
        return [each for each in grant if self._random.random() < 0.9]

    def _challenge(self) -> list[Attribute]:
        challenge: list[Attribute] = [
            Realm(self._random.choice(REALMS[:1] * 6 + REALMS)),
            Nonce(self._random.choice(NONCES)),
            self._random.choice(OFFERS),
        ]
        return [each for each in challenge if self._random.random() < 0.8]

    def _nonsense(self) -> list[Attribute]:
        count = self._random.choice((0, 0, 1, 3))
        return [
            UnknownAttribute(self._random.randrange(0x10000), self._random.randbytes(8))
            for _ in range(count)
        ]

    def _signed(self, response: Message) -> bytes:
        assert self._request is not None
        realm = self._request.get(Realm)
        if realm is None:
            return response.encode()
        algorithm = self._request.get(PasswordAlgorithm)
        number = MD5.number if algorithm is None else algorithm.number
        key = long_term_key("user", realm.value, "pass", number)
        integrity = Integrity.SHA1 if algorithm is None else Integrity.SHA256
        return response.encode(integrity=IntegrityKey(key, integrity))

    def _mutated(self, data: bytes) -> bytes:
        mutated = bytearray(data)
        mutated[self._random.randrange(len(mutated))] = self._random.randrange(256)
        return bytes(mutated)


def requests_in(transmits: list[bytes]) -> list[Message]:
    """What a server could answer among what a client sent."""
    messages = [Message.parse(data) for data in transmits if data[0] < 0x40]
    return [each for each in messages if each.message_class is MessageClass.REQUEST]


@pytest.mark.parametrize("seed", range(8))
def test_a_binding_client_ends_whatever_the_server_answers(seed: int, sized: Sized) -> None:
    server = HostileServer(seed)
    generator = random.Random(seed)
    now = 1000.0
    ends: set[type] = set()
    for _ in range(sized(quick=100, full=20_000)):
        client = BindingClient(
            PATH, random=generator.randbytes, authentication=LongTerm("user", "pass")
        )
        client.start(now)
        steps = 0
        while (event := client.next_event()) is None:
            steps += 1
            assert steps < 100
            transmits = [transmit.data for transmit in client.transmits()]
            # The answer to a challenge, and what the timer added to it.
            assert len(transmits) <= 2
            for request in requests_in(transmits):
                client.receive(server.answer(request), PATH, now)
            deadline = client.next_deadline()
            if deadline is not None:
                now = max(now, deadline)
                client.handle_timer(now)
        assert isinstance(event, Bound | BindingFailed)
        ends.add(type(event))
        assert client.next_event() is None
        assert client.next_deadline() is None
    assert ends == {Bound, BindingFailed}


class Attacked:
    """A TURN client with a shell of its own, at the mercy of a hostile server."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = HostileServer(seed)
        self.now = 1000.0
        self.received = 0
        self.lost = 0
        self.client = self.start()

    def start(self) -> Allocation:
        client = Allocation(
            SERVER,
            Transport.UDP,
            username="user",
            password="pass",
            random=self.random.randbytes,
        )
        client.allocate(self.now)
        return client

    def step(self) -> None:
        """Let the shell do its duty, the server answer, the owner ask for something, time pass."""
        self.events()
        transmits = [transmit.data for transmit in self.client.transmits()]
        assert len(transmits) <= MOST_AT_ONCE
        for request in requests_in(transmits):
            path = self.client.path
            if path is not None:
                self.client.receive(self.server.answer(request), path, self.now)
        self.events()
        self.ask()
        deadline = self.client.next_deadline()
        if deadline is not None and self.random.random() < 0.7:
            self.now = max(self.now, deadline)
            self.client.handle_timer(self.now)
        if self.client.state in (AllocationState.CLOSED, AllocationState.IDLE):
            self.client = self.start()

    def events(self) -> None:
        while (event := self.client.next_event()) is not None:
            match event:
                case OpenSocket():
                    port = self.random.randrange(1024, 65536)
                    result = Address(LOCAL.host, port)
                    self.client.answer(event.request_id, result, self.now)
                case DataReceived():
                    self.received += 1
                case AllocationLost(error) | AllocateFailed(error):
                    assert isinstance(error, NatkitError)
                    self.lost += 1
                case CloseSocket():
                    pass
                case _:
                    pass

    def ask(self) -> None:
        if self.client.state is not AllocationState.ALLOCATED:
            return
        peer = self.random.choice(PEERS)
        try:
            match self.random.randrange(20):
                case 0 | 1:
                    self.client.permit([peer], self.now)
                case 2 | 3:
                    self.client.bind_channel(peer, self.now)
                case 4 | 5 | 6:
                    self.client.send(b"data", peer, self.now)
                case 7:
                    self.client.close(self.now)
                case _:
                    pass
        except MisuseError:
            # The relayed address may be of the other family.
            pass


@pytest.mark.parametrize("seed", range(8))
def test_a_turn_client_survives_whatever_the_server_answers(seed: int, sized: Sized) -> None:
    attacked = Attacked(seed)
    allocated = 0
    for _ in range(sized(quick=1_000, full=100_000)):
        attacked.step()
        allocated += attacked.client.state is AllocationState.ALLOCATED
    # The attack got somewhere: the client held allocations, and lost some.
    assert allocated
    assert attacked.lost
