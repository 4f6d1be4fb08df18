"""Binding answers a stranger with its own address and nothing else."""

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ChangeRequest,
    ErrorCode,
    MappedAddress,
    Padding,
    ResponseAddress,
    ResponsePort,
    Software,
    UnknownAttribute,
    UnknownAttributes,
    Username,
    XorMappedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from stun_server.events import RequestRefused
from tests.stun_server.world import LISTENER, LISTENER6, World, code

CLIENT = Address("203.0.113.9", 41000)
CLIENT6 = Address("2001:db8:7::9", 41000)
ID = bytes(range(12))
CLASSIC_ID = bytes(range(100, 116))


def exchange(
    world: World, request: Message, client: Address = CLIENT, transport: Transport = Transport.UDP
) -> tuple[Message, bytes]:
    listener = LISTENER6 if ":" in client.host else LISTENER
    path = Path(transport, listener, client)
    (answer,) = world.receive(request.encode(), path)
    assert answer.path == path
    return Message.parse(answer.data, allow_classic=True), answer.data


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
@pytest.mark.parametrize(("client", "size"), [(CLIENT, 32), (CLIENT6, 44)])
def test_the_answer_is_the_mapped_address_alone(
    client: Address, size: int, transport: Transport
) -> None:
    request = Message.request(Method.BINDING, ID, Software("a client"))
    response, data = exchange(World(), request, client, transport)
    assert response.message_class is MessageClass.SUCCESS_RESPONSE
    assert response.transaction_id == ID
    assert response.attributes == (XorMappedAddress(client),)
    assert len(data) == size


@pytest.mark.parametrize("method", [Method.BINDING, Method.ALLOCATE])
def test_a_classic_request_over_dtls_gets_500(method: Method) -> None:
    """RFC 8489 §11."""
    world = World()
    response, _ = exchange(world, Message.request(method, CLASSIC_ID), transport=Transport.DTLS)
    assert response.is_classic
    assert code(response) == 500
    indication = Message(method, MessageClass.INDICATION, CLASSIC_ID, ())
    assert not world.receive(indication.encode(), Path(Transport.DTLS, LISTENER, CLIENT))


def test_a_classic_client_gets_mapped_address() -> None:
    response, _ = exchange(World(), Message.request(Method.BINDING, CLASSIC_ID))
    assert response.is_classic
    assert response.transaction_id == CLASSIC_ID
    assert response.attributes == (MappedAddress(CLIENT),)


@pytest.mark.parametrize("transaction_id", [ID, CLASSIC_ID])
def test_a_change_request_that_asks_for_no_change_is_answered(transaction_id: bytes) -> None:
    request = Message.request(Method.BINDING, transaction_id, ChangeRequest())
    assert code(exchange(World(), request)[0]) is None


@pytest.mark.parametrize(
    ("attribute", "number"),
    [
        (ChangeRequest(change_ip=True), 0x0003),
        (ChangeRequest(change_port=True), 0x0003),
        (ResponsePort(53), 0x0027),
        (Padding(bytes(64)), 0x0026),
        (ResponseAddress(Address("192.0.2.1", 53)), 0x0002),
        (UnknownAttribute(0x7777, b""), 0x7777),
    ],
)
@pytest.mark.parametrize("transaction_id", [ID, CLASSIC_ID])
def test_what_the_server_does_not_do_is_an_unknown_attribute(
    attribute: Attribute, number: int, transaction_id: bytes
) -> None:
    world = World()
    response, _ = exchange(world, Message.request(Method.BINDING, transaction_id, attribute))
    assert response.attributes == (ErrorCode(420), UnknownAttributes((number,)))
    (refused,) = world.take_events(RequestRefused)
    assert (refused.method, refused.code) == (Method.BINDING, 420)


def test_credentials_and_optional_attributes_are_ignored() -> None:
    request = Message.request(
        Method.BINDING, ID, Username("nobody"), UnknownAttribute(0xFFFF, b"?")
    )
    assert code(exchange(World(), request)[0]) is None


@pytest.mark.parametrize(
    "message_class",
    [MessageClass.INDICATION, MessageClass.SUCCESS_RESPONSE, MessageClass.ERROR_RESPONSE],
)
def test_only_requests_are_answered(message_class: MessageClass) -> None:
    message = Message(Method.BINDING, message_class, ID)
    assert World().receive(message.encode(), Path(Transport.UDP, LISTENER, CLIENT)) == []


def test_a_wrong_fingerprint_gets_no_answer() -> None:
    data = bytearray(Message.request(Method.BINDING, ID).encode(fingerprint=True))
    world = World()
    path = Path(Transport.UDP, LISTENER, CLIENT)
    assert len(world.receive(bytes(data), path)) == 1
    data[-1] ^= 1
    assert world.receive(bytes(data), path) == []
    assert world.server.malformed == 1


def test_nothing_is_answered_where_the_server_does_not_listen() -> None:
    data = Message.request(Method.BINDING, ID).encode()
    elsewhere = Path(Transport.UDP, Address(LISTENER.host, 50000), CLIENT)
    assert World().receive(data, elsewhere) == []
