"""The machine's contract, and what it does with what is no request of TURN."""

import random
from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.machine import Failure, Machine, OpenSocket, Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    Data,
    RequestedTransport,
    UnknownAttribute,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from stun_server.answers import ANSWERS_PER_ALLOCATION, ANSWERS_WITHOUT_ALLOCATION
from stun_server.events import FindCredential, RequestRefused, ServerEvent
from stun_server.service import Server, ServerResult
from tests.stun_server.world import LISTENER, PEER, SETTINGS, World, code

UDP = RequestedTransport(17)


def server() -> Server:
    return Server(SETTINGS, random=random.Random(1).randbytes, unix_offset=0.0)


def test_the_server_is_a_machine() -> None:
    machine: Machine[ServerEvent, ServerResult] = server()
    assert machine.next_deadline() is None
    assert machine.next_event() is None
    assert list(machine.transmits()) == []
    machine.handle_timer(1.0)
    assert machine.next_deadline() is None


def test_transmits_are_taken_once() -> None:
    machine = server()
    path = Path(Transport.UDP, LISTENER, PEER)
    machine.receive(Message.request(Method.BINDING, bytes(12)).encode(), path, 1.0)
    assert len(machine.transmits()) == 1
    assert list(machine.transmits()) == []


def test_the_timer_may_fire_early() -> None:
    world = World()
    world.client().allocate()
    deadline = world.server.next_deadline()
    assert deadline == world.now + 600
    world.server.handle_timer(deadline - 0.001)
    assert world.drain() == []
    assert world.server.next_deadline() == deadline


def test_an_answer_of_the_wrong_kind_is_misuse() -> None:
    world = World()
    world.hold_lookups = world.hold_sockets = True
    client = world.client()
    client.send(client.form(Method.ALLOCATE, UDP))
    (lookup,) = world.lookups
    with pytest.raises(MisuseError):
        world.server.answer(lookup.request_id, PEER, world.now)
    world.answer_lookup(lookup)
    world.drain()
    (opening,) = world.opened
    with pytest.raises(MisuseError):
        world.server.answer(opening.request_id, None, world.now)


def test_request_ids_are_never_used_twice() -> None:
    world = World()
    for port in range(1, 20):
        world.client(port=port).allocate()
    ids = [request.request_id for request in (*world.lookups, *world.opened)]
    assert len(set(ids)) == len(ids) == 38


def test_an_unknown_request_id_is_dropped() -> None:
    world = World()
    world.server.answer(99, None, world.now)
    world.server.answer(99, Failure("late"), world.now)
    assert world.drain() == []


# What is no request of TURN.


@pytest.mark.parametrize(
    "method",
    [Method.SEND, Method.DATA, Method.CONNECTION_ATTEMPT, 0x002, 0x100, 0xFFF],
)
def test_methods_that_are_not_supported_get_no_answer(method: int) -> None:
    world = World()
    client = world.client()
    client.allocate()
    request = Message.request(method, client.transaction_id(), UDP)
    assert client.send(request.encode()) == []


def test_a_classic_message_is_never_a_request_of_turn() -> None:
    client = World().client()
    assert client.send(Message.request(Method.ALLOCATE, bytes(16), UDP).encode()) == []


@pytest.mark.parametrize(
    "message_class", [MessageClass.SUCCESS_RESPONSE, MessageClass.ERROR_RESPONSE]
)
def test_responses_get_no_answer(message_class: MessageClass) -> None:
    client = World().client()
    for method in Method:
        assert client.send(Message(method, message_class, bytes(12)).encode()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        bytes(19),
        b"\0\1\0\4" + b"\x21\x12\xa4\x42" + bytes(12),
        b"\0\3\0\0" + b"\x21\x12\xa4\x42" + bytes(11),
        b"\x80\x60" + bytes(170),
        b"\x16\xfe\xfd" + bytes(60),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_gets_no_answer(data: bytes) -> None:
    client = World().client()
    assert client.send(data) == []


# Malformed attributes.

MALFORMED: list[tuple[Method, int, bytes]] = [
    (Method.ALLOCATE, 0x0019, b"\x11"),
    (Method.ALLOCATE, 0x0019, b""),
    (Method.ALLOCATE, 0x000D, b"\0\0\0"),
    (Method.ALLOCATE, 0x0018, b""),
    (Method.ALLOCATE, 0x0022, bytes(7)),
    (Method.ALLOCATE, 0x0017, bytes(3)),
    (Method.ALLOCATE, 0x001A, b"x"),
    (Method.REFRESH, 0x000D, bytes(5)),
    (Method.CREATE_PERMISSION, 0x0012, b"\0\3" + bytes(6)),
    (Method.CREATE_PERMISSION, 0x0012, b"\0\1" + bytes(18)),
    (Method.CHANNEL_BIND, 0x000C, b"\x40\x00"),
    (Method.CHANNEL_BIND, 0x0012, b""),
]


@pytest.mark.parametrize(("method", "number", "value"), MALFORMED)
def test_a_user_is_told_of_a_malformed_attribute(method: Method, number: int, value: bytes) -> None:
    world = World()
    client = world.client()
    good: tuple[Attribute, ...] = (UDP,)
    if method != Method.ALLOCATE:
        client.allocate()
        good = (XorPeerAddress(PEER), ChannelNumber(0x4000))
    world.events.clear()
    response = client.request(method, *good, UnknownAttribute(number, value))
    assert code(response) == 400
    assert world.server.malformed == 1
    assert [type(event) for event in world.events] == [RequestRefused]


@pytest.mark.parametrize(("method", "number", "value"), MALFORMED)
def test_a_stranger_is_not_told(method: Method, number: int, value: bytes) -> None:
    world = World()
    client = world.client()
    request = Message.request(method, bytes(12), UnknownAttribute(number, value))
    assert client.send(request.encode()) == []
    client.password = "guess"
    assert client.send(client.form(method, UnknownAttribute(number, value))) == []
    assert world.server.malformed == 2


def test_malformed_bindings_and_indications_are_dropped() -> None:
    world = World()
    client = world.client()
    client.allocate()
    client.permit(PEER)
    malformed = UnknownAttribute(0x000C, b"")
    assert client.send(Message.request(Method.BINDING, bytes(12), malformed).encode()) == []
    attributes = (XorPeerAddress(PEER), Data(b"x"), malformed)
    assert client.send(Message.indication(Method.SEND, bytes(12), *attributes).encode()) == []
    assert world.server.malformed == 2


# What answers are kept.


def test_the_answers_of_an_allocation_are_bounded() -> None:
    world = World()
    client = world.client()
    client.allocate()
    for _ in range(50):
        client.permit(PEER)
    (allocation,) = world.server.allocations
    assert len(allocation.answers) == ANSWERS_PER_ALLOCATION


def test_the_answers_without_allocation_are_bounded() -> None:
    world = World(replace(SETTINGS, allocations_per_user=1))
    world.client(port=1).allocate()
    client = world.client(port=2)
    for _ in range(ANSWERS_WITHOUT_ALLOCATION + 50):
        assert code(client.request(Method.ALLOCATE, UDP)) == 486
    assert len(world.server.allocations.answers) == ANSWERS_WITHOUT_ALLOCATION
    # The latest are those that are kept.
    assert code(Message.parse(client.send(client.sent[-1])[0].data)) == 486
    world.events.clear()
    client.send(client.sent[-1])
    assert world.events == []
    client.send(client.sent[-ANSWERS_WITHOUT_ALLOCATION - 10])
    assert len(world.events) == 1


def test_an_answer_is_repeated_on_its_own_path_only() -> None:
    world = World()
    client, other = world.client(port=1), world.client(port=2)
    data = client.form(Method.ALLOCATE, UDP)
    client.send(data)
    assert code(other.exchange(data)) == 438


# Nothing stays behind.


def test_nothing_stays_behind_when_all_have_left() -> None:
    world = World()
    for port in range(1, 60):
        client = world.client(port=port)
        client.allocate()
        client.permit(PEER)
    world.wait(700)
    assert world.sockets == set()
    assert world.server.next_deadline() is None
    assert len(world.server.allocations) == 0
    full = World(replace(SETTINGS, allocations_per_user=59, allocations=59))
    for round_ in range(3):
        for port in range(1, 60):
            full.client(port=port + 100 * round_).allocate()
        full.wait(700)


def test_a_user_at_hand_is_not_asked_for() -> None:
    world = World()
    known = {"alice": world.users["alice"]}
    world.server = Server(
        SETTINGS,
        random=random.Random(1).randbytes,
        unix_offset=1_700_000_000.0,
        at_hand=lambda _, username: known.get(username),
    )
    world.client().allocate()
    assert world.lookups == []
    world.client(port=40001, username="bob").allocate()
    assert [lookup.username for lookup in world.lookups] == ["bob"]
    hidden = world.client(port=40002)
    hidden.anonymous = True
    hidden.allocate()
    assert [lookup.username for lookup in world.lookups] == ["bob", None]
    impostor = world.client(port=40003)
    impostor.password = "guessed"
    assert code(impostor.request(Method.ALLOCATE, UDP)) == 401


def test_requests_for_the_shell_are_the_only_events_before_an_answer() -> None:
    machine = server()
    path = Path(Transport.UDP, LISTENER, Address("192.0.2.7", 40000))
    world = World()
    client = world.client()
    data = client.form(Method.ALLOCATE, UDP)
    # Another server with the same key and clock takes the same nonce.
    machine.receive(data, path, world.now + 1_700_000_000.0)
    event = machine.next_event()
    assert isinstance(event, FindCredential)
    assert machine.next_event() is None
    machine.answer(event.request_id, world.users["alice"], world.now + 1_700_000_000.0)
    assert isinstance(machine.next_event(), OpenSocket)
    assert list(machine.transmits()) == []
