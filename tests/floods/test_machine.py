"""Floods against the machine alone: strangers leave nothing behind, users nothing to be had.

What a flood may cost a whole server, on real sockets, is asked in ``test_connections`` and in
``tests/netlab/test_spoofed_flood``.
"""

import sys
from dataclasses import replace

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import (
    Attribute,
    EvenPort,
    Nonce,
    Realm,
    RequestedTransport,
    UserHash,
    Username,
)
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import UDP_PROTOCOL, Method
from stun_server.pending import MAX_PENDING
from tests.conftest import Sized
from tests.stun_server.world import LISTENER, REALM, SETTINGS, World, code

SOURCES = 60_000
ALLOCATE = RequestedTransport(UDP_PROTOCOL)


def source(number: int) -> Path:
    """One of many forged sources, each of a network of its own."""
    host = f"{11 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.7"
    return Path(Transport.UDP, LISTENER, Address(host, 1024 + number % 60_000))


def forgery(number: int) -> bytes:
    """What a stranger may think of: no credentials, made-up ones, and those of nobody."""
    nonce = Nonce(b"obMatJos2wAAD" + number.to_bytes(10, "big").hex().encode()[:15])
    attributes: tuple[Attribute, ...] = (ALLOCATE,)
    match number % 6:
        case 0 | 1:
            integrity = None
        case 2:
            attributes += (EvenPort(reserve_next=True),)
            integrity = None
        case 3:
            attributes += (Username("alice"), Realm(REALM), nonce)
            integrity = IntegrityKey(bytes(16))
        case 4:
            attributes += (UserHash(bytes(32)), Realm(REALM), nonce)
            integrity = IntegrityKey(bytes(16))
        case _:
            integrity = IntegrityKey(bytes(16))
    message = Message.request(Method.ALLOCATE, number.to_bytes(12, "big"), *attributes)
    return message.encode(integrity=integrity)


def flood(world: World, first: int, count: int) -> int:
    """Send as many sources' packets; how many answers they got."""
    answers = 0
    for number in range(first, first + count):
        answers += len(world.receive(forgery(number), source(number)))
        world.now += 1 / 30_000
    return answers


def test_allocates_from_60000_forged_sources_leave_no_state_and_make_no_objects(
    sized: Sized,
) -> None:
    count = sized(quick=SOURCES, full=20 * SOURCES)
    world = World()
    flood(world, 0, 1_000)
    world.events.clear()
    before = sys.getallocatedblocks()
    answered = 0
    for first in range(0, count, 1_000):
        answered += flood(world, first % SOURCES, 1_000)
        # The shell takes events as they come; here they would be the growth.
        world.events.clear()
    grown = sys.getallocatedblocks() - before
    assert grown < 1_000, "objects that outlive the packets: one in sixty would show"
    server = world.server
    assert answered > 0
    assert len(server.allocations) == 0
    assert len(server.allocations.answers) == 0
    assert server.next_deadline() is None
    assert world.lookups == []
    assert world.opened == []
    # A user beside them is served as ever.
    world.client().allocate()


def test_a_forged_source_is_sent_no_more_than_twice_what_came_and_one_burst(sized: Sized) -> None:
    """The victim of a reflection: its whole network is named as the source."""
    world = World()
    received = sent = 0
    for number in range(sized(quick=20_000, full=500_000)):
        data = forgery(number)
        path = source(7)
        path = path._replace(remote=Address(f"11.0.7.{number % 256}", path.remote.port))
        received += len(data)
        sent += sum(len(each.data) for each in world.receive(data, path))
        assert sent <= 2 * received + SETTINGS.answer_burst
        world.events.clear()


def test_one_user_at_its_limits_leaves_another_served() -> None:
    """By default a user may have half of everything."""
    world = World(
        replace(
            SETTINGS,
            allocations=200,
            allocations_per_user=100,
            permissions=400,
            permissions_per_user=200,
            channels=20,
            channels_per_user=10,
        )
    )
    greedy = [world.client(port=1_000 + number) for number in range(150)]
    outcomes = [code(client.request(Method.ALLOCATE, ALLOCATE)) for client in greedy]
    assert outcomes == [None] * 100 + [486] * 50
    peers = [Address(f"8.8.4.{number}", 5000) for number in range(100)]
    permitted = [code(client.permit(*peers)) for client in greedy[:10]]
    assert permitted == [None, None] + [508] * 8
    # EVEN-PORT with a second port would take two.
    pair = greedy[149].request(Method.ALLOCATE, ALLOCATE, EvenPort(reserve_next=True))
    assert code(pair) == 486
    others = [world.client(port=5_000 + number, username="bob") for number in range(100)]
    for client in others:
        client.allocate()
    assert code(others[0].permit(*peers)) is None
    assert code(world.client(port=9_000, username="bob").request(Method.ALLOCATE, ALLOCATE)) == 486


def test_users_whose_store_does_not_answer_are_bounded_and_end() -> None:
    """Requests with a true nonce cost a lookup each, and wait for it for seconds at most."""
    world = World()
    world.hold_lookups = True
    for number in range(MAX_PENDING + 200):
        client = world.client(f"11.0.{number >> 8}.{number & 255}", 5_000)
        client.send(client.form(Method.ALLOCATE, ALLOCATE))
    assert len(world.lookups) == MAX_PENDING
    world.wait(60.0)
    assert world.server.next_deadline() is None
    world.hold_lookups = False
    world.client().allocate()
