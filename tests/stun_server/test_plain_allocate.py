"""The quick answer to an Allocate without credentials is the one that the general path gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natkit.machine import Transmit, Transport
from natkit.stun.attributes import EvenPort, RequestedTransport
from natkit.stun.message import Message
from natkit.stun.registry import AttributeType, Method, PasswordAlgorithmNumber
from stun_server import service
from stun_server.plain_allocate import is_plain
from stun_server.settings import RealmChoice, Settings
from tests.stun_server.world import LISTENER, REALM, SETTINGS, World

ID = bytes(range(12))
BOTH = (PasswordAlgorithmNumber.SHA_256, PasswordAlgorithmNumber.MD5)

attributes = st.lists(
    st.tuples(
        st.sampled_from([*AttributeType, 0x7F01, 0xFF01]),
        st.sampled_from([0, 1, 4, 8, 20, 32]) | st.integers(0, 40),
    ),
    max_size=4,
)
likely = st.lists(
    st.sampled_from(
        [
            (AttributeType.REQUESTED_TRANSPORT, 4),
            (AttributeType.LIFETIME, 4),
            (AttributeType.DONT_FRAGMENT, 0),
            (AttributeType.EVEN_PORT, 1),
            (AttributeType.SOFTWARE, 9),
            (AttributeType.REQUESTED_ADDRESS_FAMILY, 4),
            (AttributeType.ADDITIONAL_ADDRESS_FAMILY, 4),
            (AttributeType.MOBILITY_TICKET, 0),
        ]
    ),
    max_size=4,
)
settings = st.builds(
    replace,
    st.just(SETTINGS),
    realm=st.just(REALM)
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=127),
    password_algorithms=st.sampled_from([(), BOTH, BOTH[1:]]),
    username_anonymity=st.booleans(),
    software=st.sampled_from(["", "natkit"]),
)


def request(
    parts: list[tuple[int, int]], filler: bytes, kind: int = 0x0003, cookie: int = 0x2112A442
) -> bytes:
    """A request of attributes of those types and lengths, filled with ``filler``."""
    body = b"".join(
        number.to_bytes(2, "big") + length.to_bytes(2, "big") + filler * length + bytes(-length % 4)
        for number, length in parts
    )
    header = kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + cookie.to_bytes(4, "big")
    return header + ID + body


@contextmanager
def general_path_only() -> Iterator[None]:
    """Nothing is plain."""
    with mock.patch.object(service, "is_plain", return_value=False):
        yield


def outcome(settings: Settings, datagrams: list[bytes], port: int, *, tcp: bool) -> object:
    """All that a machine lets out because of these datagrams of a client."""
    world = World(settings)
    if settings.realm == REALM:
        world.client().allocate()
    client = world.client(
        port=port,
        transport=Transport.TCP if tcp else Transport.UDP,
    )
    sent = [world.receive(data, client.path) for data in datagrams]
    server = world.server
    return (
        sent,
        world.events,
        server.malformed,
        server.bindings,
        len(server.allocations),
        server.next_deadline(),
    )


@given(
    settings=settings,
    parts=attributes | likely,
    filler=st.sampled_from([b"\0", b"a", b"\xff"]),
    port=st.sampled_from([40000, 40001, 65535]),
    tcp=st.booleans(),
    mutation=st.tuples(st.integers(0, 200), st.integers(0, 255)) | st.none(),
)
def test_it_is_the_general_answer_to_the_same_bytes(
    settings: Settings,
    parts: list[tuple[int, int]],
    filler: bytes,
    port: int,
    mutation: tuple[int, int] | None,
    *,
    tcp: bool,
) -> None:
    data = bytearray(request(parts, filler))
    if mutation is not None:
        data[mutation[0] % len(data)] = mutation[1]
    datagrams = [bytes(data), bytes(data), bytes(data[:-4])]
    quick = outcome(settings, datagrams, port, tcp=tcp)
    with general_path_only():
        assert outcome(settings, datagrams, port, tcp=tcp) == quick


@given(settings=settings, parts=attributes | likely, filler=st.sampled_from([b"\0", b"\x11"]))
def test_a_stranger_is_greeted_with_what_the_machine_would_answer(
    settings: Settings, parts: list[tuple[int, int]], filler: bytes
) -> None:
    data = request(parts, filler)
    world, other = World(settings), World(settings)
    client = world.client()
    place = client.path.remote
    greeted = [
        world.server.greeting.greet(data, place.port.to_bytes(2, "big") + place.packed, world.now)
        for _ in range(200)
    ]
    if greeted[0] is None:
        assert not is_plain(data)
        return
    answers = [other.receive(data, client.path) for _ in range(200)]
    assert greeted == [b"".join(each.data for each in answer) for answer in answers]


def test_where_realms_are_to_choose_from_the_machine_greets() -> None:
    there = World()
    data = request([(AttributeType.REQUESTED_TRANSPORT, 4)], b"\0")
    assert there.server.greeting.greet(data, bytes(6), there.now)
    office = RealmChoice(replace(SETTINGS, realm="office"), frozenset({(Transport.UDP, LISTENER)}))
    there.server.configure(replace(SETTINGS, realms=(office,)), there.now)
    assert there.server.greeting.greet(data, bytes(6), there.now) is None


@pytest.mark.parametrize("length", range(60))
def test_a_request_cut_anywhere_is_not_plain(length: int) -> None:
    data = request([(AttributeType.REQUESTED_TRANSPORT, 4), (AttributeType.SOFTWARE, 28)], b"a")
    assert is_plain(data)
    assert len(data) == 60
    assert not is_plain(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        request([(AttributeType.REQUESTED_TRANSPORT, 4)], b"\0", kind=0x0001),
        request([(AttributeType.REQUESTED_TRANSPORT, 4)], b"\0", cookie=1),
        request([(AttributeType.REQUESTED_TRANSPORT, 8)], b"\0"),
        request([(AttributeType.MESSAGE_INTEGRITY, 20)], b"\0"),
        request([(AttributeType.MESSAGE_INTEGRITY_SHA256, 32)], b"\0"),
        request([(AttributeType.FINGERPRINT, 4)], b"\0"),
        request([(0x7F01, 0)], b"\0"),
    ],
)
def test_what_the_general_path_must_look_at_is_not_plain(data: bytes) -> None:
    assert not is_plain(data)


def test_the_answer_to_an_allocate_is_given_again_to_a_plain_request_of_its_transaction() -> None:
    def repeated() -> tuple[list[Transmit], list[Transmit]]:
        world = World()
        client = world.client()
        first = client.form(Method.ALLOCATE, RequestedTransport(17))
        answer = client.send(first)
        plain = Message.request(Method.ALLOCATE, first[8:20], EvenPort()).encode()
        assert is_plain(plain)
        return answer, client.send(plain)

    answer, again = quick = repeated()
    assert answer == again
    with general_path_only():
        assert repeated() == quick


def test_a_plain_request_is_not_answered_while_its_transaction_waits() -> None:
    world = World()
    client = world.client()
    client.challenge()
    world.hold_lookups = True
    waiting = client.form(Method.ALLOCATE, RequestedTransport(17))
    assert client.send(waiting) == []
    again = Message.request(Method.ALLOCATE, waiting[8:20]).encode()
    place = client.path.remote.port.to_bytes(2, "big") + client.path.remote.packed
    assert client.send(again) == []
    assert world.server.greeting.greet(again, place, world.now) is None
    assert len(client.send(Message.request(Method.ALLOCATE, ID).encode())) == 1
