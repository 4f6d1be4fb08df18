"""The Binding client as a machine."""

from collections.abc import Callable

import pytest

from natkit.address import Address
from natkit.errors import (
    ErrorResponse,
    MalformedMessage,
    MisuseError,
    TransactionTimeout,
    UnreachableError,
)
from natkit.machine import Machine, Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ErrorCode,
    MappedAddress,
    Nonce,
    Realm,
    Software,
    XorMappedAddress,
)
from natkit.stun.authentication import LongTerm
from natkit.stun.binding import BindingClient, BindingEvent, BindingFailed, Bound
from natkit.stun.credentials import long_term_key
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method

START = 1000.0
MAPPED = Address.of("203.0.113.5", 40000)
LOCAL = Address.of("192.0.2.1", 5000)
SERVER = Address.of("192.0.2.2", 3478)
PATH = Path(Transport.UDP, LOCAL, SERVER)


def sequence() -> Callable[[int], bytes]:
    drawn = iter(range(1, 100))
    return lambda length: next(drawn).to_bytes(length, "big")


def client(path: Path = PATH) -> BindingClient:
    machine = BindingClient(path, random=sequence(), software="natkit test")
    contract: Machine[BindingEvent, object] = machine
    assert contract.next_event() is None
    return machine


def sent(machine: BindingClient) -> Message:
    (transmit,) = machine.transmits()
    return Message.parse(transmit.data)


def test_the_mapped_address_is_the_outcome() -> None:
    machine = client()
    machine.start(START)
    request = sent(machine)
    assert (request.method, request.message_class) == (Method.BINDING, MessageClass.REQUEST)
    assert request.get(Software) == Software("natkit test")
    machine.receive(request.success(XorMappedAddress(MAPPED)).encode(), PATH, START + 0.25)
    event = machine.next_event()
    assert isinstance(event, Bound)
    assert event.mapped == MAPPED
    assert event.round_trip == 0.25
    assert machine.next_event() is None
    assert machine.next_deadline() is None


@pytest.mark.parametrize(
    ("attributes", "mapped"),
    [
        ((MappedAddress(MAPPED),), MAPPED),
        ((MappedAddress(LOCAL), XorMappedAddress(MAPPED)), MAPPED),
        ((XorMappedAddress(MAPPED), XorMappedAddress(LOCAL)), MAPPED),
    ],
)
def test_the_hidden_address_counts_before_the_plain_one(
    attributes: tuple[Attribute, ...], mapped: Address
) -> None:
    machine = client()
    machine.start(START)
    machine.receive(sent(machine).success(*attributes).encode(), PATH, START)
    event = machine.next_event()
    assert isinstance(event, Bound)
    assert event.mapped == mapped


def test_a_response_without_an_address_is_malformed() -> None:
    machine = client()
    machine.start(START)
    machine.receive(sent(machine).success().encode(), PATH, START)
    event = machine.next_event()
    assert isinstance(event, BindingFailed)
    assert isinstance(event.error, MalformedMessage)


def test_garbage_and_answers_from_elsewhere_are_ignored() -> None:
    machine = client()
    machine.start(START)
    answer = sent(machine).success(XorMappedAddress(MAPPED)).encode()
    machine.receive(b"garbage", PATH, START)
    machine.receive(answer[:-1], PATH, START)
    machine.receive(answer, Path(Transport.UDP, LOCAL, LOCAL), START)
    assert machine.next_event() is None
    machine.receive(answer, PATH, START)
    assert isinstance(machine.next_event(), Bound)


def test_silence_ends_in_a_timeout() -> None:
    machine = client()
    machine.start(START)
    requests = 1
    sent(machine)
    while (deadline := machine.next_deadline()) is not None:
        machine.handle_timer(deadline)
        requests += len(machine.transmits())
    assert requests == 7
    event = machine.next_event()
    assert isinstance(event, BindingFailed)
    assert isinstance(event.error, TransactionTimeout)


def test_an_error_response_is_the_outcome() -> None:
    machine = client()
    machine.start(START)
    machine.receive(sent(machine).error(ErrorCode(500)).encode(), PATH, START)
    event = machine.next_event()
    assert isinstance(event, BindingFailed)
    assert isinstance(event.error, ErrorResponse)
    assert event.error.code == 500


def test_a_stream_that_ends_ends_the_request() -> None:
    path = Path(Transport.TCP, LOCAL, SERVER)
    machine = client(path)
    machine.start(START)
    machine.disconnected(PATH, START)
    assert machine.next_event() is None
    machine.disconnected(path, START)
    event = machine.next_event()
    assert isinstance(event, BindingFailed)
    assert isinstance(event.error, UnreachableError)
    assert "192.0.2.2:3478" in str(event.error)


def test_one_request_is_under_way_at_a_time() -> None:
    machine = client()
    machine.start(START)
    with pytest.raises(MisuseError):
        machine.start(START)
    machine.receive(sent(machine).success(XorMappedAddress(MAPPED)).encode(), PATH, START)
    machine.start(START)
    assert sent(machine).method == Method.BINDING


def test_a_server_that_asks_for_a_credential_gets_it() -> None:
    machine = BindingClient(PATH, random=sequence(), authentication=LongTerm("user", "pass"))
    machine.start(START)
    challenge = sent(machine).error(401, Realm("realm"), Nonce(b"nonce"))
    machine.receive(challenge.encode(), PATH, START + 1)
    key = IntegrityKey(long_term_key("user", "realm", "pass"))
    answer = sent(machine).success(XorMappedAddress(MAPPED)).encode(integrity=key)
    machine.receive(answer, PATH, START + 2)
    event = machine.next_event()
    assert isinstance(event, Bound)
    assert event.round_trip == 2.0
