"""NAT behaviour discovery: four listeners that answer for each other (RFC 5780 §6)."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import (
    Attribute,
    ChangedAddress,
    ChangeRequest,
    ErrorCode,
    MappedAddress,
    OtherAddress,
    Padding,
    ResponseAddress,
    ResponseOrigin,
    ResponsePort,
    SourceAddress,
    UnknownAttributes,
    XorMappedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.binding import LARGEST_PADDING
from tests.stun_server.world import LISTENER, SETTINGS, World, code

CLIENT = Address("203.0.113.9", 41000)
ID = bytes(range(12))
CLASSIC_ID = bytes(range(100, 116))
HOSTS, PORTS = ("198.51.100.1", "198.51.100.2"), (3478, 3479)
FOUR = [Address(host, port) for host in HOSTS for port in PORTS]


def across(address: Address) -> Address:
    """The listener whose host and port both differ."""
    return Address(HOSTS[address.host == HOSTS[0]], PORTS[address.port == PORTS[0]])


def world() -> World:
    transports = (Transport.UDP, Transport.TCP)
    return World(
        replace(
            SETTINGS,
            listeners=tuple(FOUR),
            others=tuple((each, own, across(own)) for each in transports for own in FOUR),
        )
    )


def ask(
    *attributes: Attribute,
    local: Address = LISTENER,
    transport: Transport = Transport.UDP,
    transaction_id: bytes = ID,
) -> tuple[Transmit, Message]:
    request = Message.request(Method.BINDING, transaction_id, *attributes)
    (sent,) = world().receive(request.encode(), Path(transport, local, CLIENT))
    return sent, Message.parse(sent.data, allow_classic=True)


@pytest.mark.parametrize("change_ip", [False, True])
@pytest.mark.parametrize("change_port", [False, True])
@pytest.mark.parametrize("local", FOUR)
def test_the_answer_comes_from_where_it_is_asked_to(
    local: Address, *, change_ip: bool, change_port: bool
) -> None:
    """RFC 5780 §6.1, table 1; OTHER-ADDRESS does not depend on what is asked."""
    sent, response = ask(ChangeRequest(change_ip, change_port), local=local)
    other = across(local)
    origin = Address(
        other.host if change_ip else local.host, other.port if change_port else local.port
    )
    assert sent.path == Path(Transport.UDP, origin, CLIENT)
    assert response.attributes == (
        XorMappedAddress(CLIENT),
        MappedAddress(CLIENT),
        ResponseOrigin(origin),
        OtherAddress(other),
    )


def test_a_request_that_asks_for_nothing_is_told_as_much() -> None:
    sent, response = ask()
    assert sent.path.local == LISTENER
    assert response.get(OtherAddress) == OtherAddress(across(LISTENER))


@pytest.mark.parametrize("change_ip", [False, True])
@pytest.mark.parametrize("change_port", [False, True])
def test_a_classic_client_is_answered_in_the_words_of_rfc_3489(
    *, change_ip: bool, change_port: bool
) -> None:
    sent, response = ask(ChangeRequest(change_ip, change_port), transaction_id=CLASSIC_ID)
    other = across(LISTENER)
    origin = Address(HOSTS[change_ip], PORTS[change_port])
    assert sent.path.local == origin
    assert response.is_classic
    assert response.attributes == (
        MappedAddress(CLIENT),
        SourceAddress(origin),
        ChangedAddress(other),
    )


@pytest.mark.parametrize("transaction_id", [ID, CLASSIC_ID])
def test_no_answer_is_sent_to_another_host(transaction_id: bytes) -> None:
    victim = ResponseAddress(Address("192.0.2.1", 53))
    sent, response = ask(victim, transaction_id=transaction_id)
    assert sent.path.remote == CLIENT
    assert response.attributes == (ErrorCode(420), UnknownAttributes((0x0002,)))


def test_response_port_names_another_port_of_the_client() -> None:
    sent, response = ask(ResponsePort(5), ChangeRequest(change_port=True))
    assert sent.path == Path(Transport.UDP, Address(HOSTS[0], PORTS[1]), Address(CLIENT.host, 5))
    assert response.get(XorMappedAddress) == XorMappedAddress(CLIENT)


@pytest.mark.parametrize("size", [0, 4, 1_000, 1_500, 1_504, 60_000])
def test_padding_is_answered_with_no_more_than_was_sent(size: int) -> None:
    request = Message.request(Method.BINDING, ID, Padding(bytes(size))).encode()
    sent, response = ask(Padding(bytes(size)))
    padding = response.get(Padding)
    assert padding is not None
    assert len(padding.value) == min(size, LARGEST_PADDING)
    bare, _ = ask()
    assert len(sent.data) - len(bare.data) <= len(request) - len(Message.request(1, ID).encode())


@pytest.mark.parametrize("attributes", [(Padding(bytes(8)), ResponsePort(5)), (ResponsePort(0),)])
def test_what_cannot_be_asked_gets_400(attributes: tuple[Attribute, ...]) -> None:
    """RFC 5780 §6.1: the second would go to no port."""
    sent, response = ask(*attributes)
    assert code(response) == 400
    assert sent.path.remote == CLIENT


@pytest.mark.parametrize("attribute", [Padding(bytes(8)), ResponsePort(5)])
def test_rfc_3489_knows_no_attribute_of_rfc_5780(attribute: Attribute) -> None:
    _, response = ask(attribute, transaction_id=CLASSIC_ID)
    assert code(response) == 420


def test_a_connection_tells_of_the_other_address_and_answers_nowhere_else() -> None:
    _, response = ask(transport=Transport.TCP)
    assert response.get(OtherAddress) == OtherAddress(across(LISTENER))
    assert response.get(ResponseOrigin) == ResponseOrigin(LISTENER)
    for attribute in (ChangeRequest(change_ip=True), ResponsePort(5), Padding(bytes(4))):
        sent, response = ask(attribute, transport=Transport.TCP)
        assert code(response) == 420, attribute
        assert sent.path == Path(Transport.TCP, LISTENER, CLIENT)


def test_a_transport_without_another_address_answers_as_ever() -> None:
    _, response = ask(transport=Transport.TLS)
    assert response.attributes == (XorMappedAddress(CLIENT),)
