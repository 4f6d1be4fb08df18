"""Hostile datagrams into the server machine's one entry point.

Nothing but MalformedMessage is raised inside (so nothing comes out), garbage gets no reply,
strangers get no reply much larger than what they sent, and nothing grows.
"""

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import islice

import pytest

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    Data,
    EvenPort,
    Lifetime,
    RequestedTransport,
    Software,
    UnknownAttribute,
    XorPeerAddress,
)
from natkit.stun.framing import StunFraming
from natkit.stun.message import Message
from natkit.stun.registry import Method, PasswordAlgorithmNumber
from tests.conftest import Sized
from tests.fuzz.datagrams import Attributes, Hostile, is_wellformed_request
from tests.stun_server.world import LISTENER, PEER, REALM, Client, World, code
from tests.vectors import stun as vectors

SEED = 8489
STRANGERS = 50
LARGEST_UNPROVEN_REPLY = 80 + len(REALM)
"""Bytes: an unauthenticated packet never gets a reply much larger than itself."""

ONE_DAY = 86_400.0
GROWTH_ALLOWED = 64 * 1024
"""Bytes by which the interpreter's own caches may differ between two measurements."""


class Target:
    """A server with one open allocation, and the clients that attack it."""

    def __init__(self) -> None:
        self.world = World()
        self.user = self.world.client(algorithm=PasswordAlgorithmNumber.SHA_256)
        self.old_user = self.world.client(port=40001, username="bob")
        self.strangers = [
            self.world.client(f"192.0.2.{100 + number % 100}", 1024 + number).path
            for number in range(STRANGERS)
        ]
        self.open()

    def open(self) -> None:
        """Make the allocation that the user's datagrams may reach, if there is none."""
        if self.world.server.allocations.of_client(self.user.path) is None:
            self.user.nonce = None
            self.user.allocate()
            self.user.permit(PEER)
            self.user.request(Method.CHANNEL_BIND, ChannelNumber(0x4000), XorPeerAddress(PEER))

    def seeds(self) -> list[bytes]:
        """Valid messages of every method, of three kinds of client."""
        user, peer = self.user, XorPeerAddress(PEER)
        unproven = [
            Message.request(Method.BINDING, bytes(12), Software("fuzz")).encode(fingerprint=True),
            Message.request(Method.ALLOCATE, bytes(12), RequestedTransport(17)).encode(),
            Message.indication(Method.SEND, bytes(12), peer, Data(b"payload")).encode(),
            bytes.fromhex("00010000") + bytes(range(16)),
            bytes.fromhex("4000 0007") + b"payload\0",
        ]
        proven = [
            client.form(method, *attributes)
            for client in (user, self.old_user)
            for method, attributes in (
                (Method.ALLOCATE, (RequestedTransport(17), EvenPort(reserve_next=True))),
                (Method.REFRESH, (Lifetime(600),)),
                (Method.CREATE_PERMISSION, (peer, peer)),
                (Method.CHANNEL_BIND, (ChannelNumber(0x4001), peer)),
            )
        ]
        return unproven + proven + [vector.data for vector in vectors.ALL]

    def protect(self, method: int, attributes: Attributes) -> bytes:
        """Sign attributes as the user: what lies behind the credentials is reached too."""
        strange: list[Attribute] = [UnknownAttribute(*each) for each in attributes]
        message = Message.request(
            method, self.user.transaction_id(), *self.user.credentials(), *strange
        )
        return message.encode(integrity=self.user.key())

    def paths(self) -> Iterator[Path]:
        """Where the next datagram comes from: strangers, the user, or a peer."""
        relayed = Address("198.51.100.1", 1)
        while True:
            draw = self.world.random.random()
            if draw < 0.4:
                yield self.world.random.choice(self.strangers)
            elif draw < 0.9:
                yield self.user.path
            elif draw < 0.95:
                yield self.old_user.path
            else:
                allocation = self.world.server.allocations.of_client(self.user.path)
                local = relayed if allocation is None else allocation.relayed
                yield Path(Transport.UDP, local, PEER)

    def attack(self, count: int, seed: int) -> None:
        """Send so many datagrams and check every reply."""
        hostile = Hostile(seed, self.seeds(), self.protect)
        for number, (data, path) in enumerate(
            zip(islice(hostile, count), self.paths(), strict=False)
        ):
            self.world.now += 0.001
            self.check_replies(data, path)
            self.world.events.clear()
            if number % 256 == 0:
                self.renew()

    def check_replies(self, data: bytes, path: Path) -> None:
        for transmit in self.world.receive(data, path):
            if transmit.path != path:
                # Relayed: from the user to the one permitted host, or from there to the user.
                assert PEER.host == transmit.path.remote.host or path.remote == PEER
                continue
            if path.local != LISTENER:
                raise AssertionError(f"a peer was answered: {data.hex()}")
            assert is_wellformed_request(data), f"garbage was answered: {data.hex()}"
            if path in self.strangers:
                # A Binding may get as much back as it brought, unknown attributes listed.
                assert len(transmit.data) <= max(LARGEST_UNPROVEN_REPLY, len(data)), data.hex()

    def renew(self) -> None:
        """Let the user go on after a hostile message of its own ended its allocation or nonce."""
        self.user.nonce = None
        self.open()

    def expire(self) -> None:
        """Let a day pass: after it nothing of any client may be left."""
        self.world.wait(ONE_DAY)
        self.world.events.clear()
        self.world.opened.clear()
        self.world.lookups.clear()
        for client in (self.user, self.old_user):
            client.sent.clear()


@pytest.mark.timeout(1800)
def test_hostile_datagrams_leave_nothing_behind(sized: Sized) -> None:
    count = sized(quick=6_000, full=1_000_000)
    print(f"seed {SEED}, {count} datagrams")
    # From the start: what is made anew in place of something as large is no growth.
    tracemalloc.start()
    try:
        target = Target()
        target.attack(count // 4, SEED)
        target.expire()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        target.renew()
        target.attack(count - count // 4, SEED + 1)
        target.expire()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    server = target.world.server
    assert target.world.sockets == set()
    assert len(server.allocations) == 0
    assert server.next_deadline() is None
    assert server.malformed > count // 10
    assert grown < GROWTH_ALLOWED, f"{grown} bytes more after {count} datagrams"


def test_hostile_datagrams_reach_what_lies_behind_the_credentials(sized: Sized) -> None:
    """The fuzzer is worth its name only if its messages get past the first check."""
    target = Target()
    hostile = Hostile(SEED, target.seeds(), target.protect)
    outcomes: set[tuple[int, int | None]] = set()
    for _ in range(sized(quick=2_000, full=50_000)):
        for transmit in target.world.receive(hostile.protected(), target.user.path):
            response = Message.parse(transmit.data)
            outcomes.add((response.method, code(response)))
        target.renew()
    print(sorted(outcomes, key=str))
    assert {
        (Method.BINDING, None),
        (Method.ALLOCATE, 400),
        (Method.ALLOCATE, 420),
        (Method.ALLOCATE, 437),
        (Method.REFRESH, None),
        (Method.REFRESH, 400),
        (Method.CREATE_PERMISSION, 400),
        (Method.CREATE_PERMISSION, None),
        (Method.CHANNEL_BIND, 400),
    } <= outcomes


@pytest.mark.parametrize("seed", range(5))
def test_hostile_streams_end_or_go_on_but_never_raise_anything_else(
    seed: int, sized: Sized
) -> None:
    target = Target()
    client: Client = target.world.client(transport=Transport.TCP, port=50000 + seed)
    hostile = iter(Hostile(seed, target.seeds()))
    framing = StunFraming()
    for _ in range(sized(quick=400, full=40_000)):
        chunk = next(hostile)
        try:
            messages = framing.receive(chunk)
        except MalformedMessage:
            target.world.server.disconnected(client.path, target.world.now)
            framing = StunFraming()
            continue
        for message in messages:
            for transmit in target.world.receive(message, client.path):
                assert is_wellformed_request(message) or transmit.path != client.path
