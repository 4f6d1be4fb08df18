"""What passes between client and peers: Send, Data, ChannelData (RFC 8656 §11, §12)."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    Data,
    DontFragment,
    RequestedAddressFamily,
    UnknownAttribute,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from stun_server.events import UnfragmentedTransmit
from stun_server.send import MAXIMUM_DATA
from tests.stun_server.world import OTHER_PEER, PEER, PEER6, SETTINGS, Client, World

ID = bytes(12)
TRANSPORTS = pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])


def send(client: Client, *attributes: Attribute) -> list[Transmit]:
    return client.send(Message.indication(Method.SEND, ID, *attributes).encode())


def permitted(world: World, transport: Transport = Transport.UDP) -> tuple[Client, Address]:
    """A client that may exchange data with PEER."""
    client = world.client(transport=transport)
    relayed = client.allocate()
    client.permit(PEER)
    return client, relayed


def bound(world: World, transport: Transport = Transport.UDP) -> tuple[Client, Address]:
    """A client with PEER on channel 0x4001."""
    client = world.client(transport=transport)
    relayed = client.allocate()
    client.request(Method.CHANNEL_BIND, ChannelNumber(0x4001), XorPeerAddress(PEER))
    return client, relayed


# Send indications.


@TRANSPORTS
@pytest.mark.parametrize("data", [b"", b"x", b"data of a length"])
def test_a_send_indication_becomes_a_datagram(transport: Transport, data: bytes) -> None:
    client, relayed = permitted(World(), transport)
    for peer in (PEER, Address(PEER.host, 7)):
        assert send(client, XorPeerAddress(peer), Data(data)) == [
            Transmit(data, Path(Transport.UDP, relayed, peer))
        ]


def test_a_send_indication_needs_peer_data_permission_and_allocation() -> None:
    world = World()
    client, _ = permitted(world)
    assert send(client, Data(b"x")) == []
    assert send(client, XorPeerAddress(PEER)) == []
    assert send(client, XorPeerAddress(OTHER_PEER), Data(b"x")) == []
    assert send(world.client(port=9), XorPeerAddress(PEER), Data(b"x")) == []
    world.wait(299.9)
    assert len(send(client, XorPeerAddress(PEER), Data(b"x"))) == 1
    world.wait(0.1)
    assert send(client, XorPeerAddress(PEER), Data(b"x")) == []


def test_a_send_indication_with_an_unknown_required_attribute_is_ignored() -> None:
    client, _ = permitted(World())
    attributes = (XorPeerAddress(PEER), Data(b"x"))
    assert send(client, *attributes, UnknownAttribute(0x7001, b"")) == []
    assert len(send(client, *attributes, UnknownAttribute(0x9001, b""))) == 1


def test_dont_fragment_is_dropped_or_passed_on() -> None:
    attributes = (XorPeerAddress(PEER), Data(b"x"), DontFragment())
    client, _ = permitted(World())
    assert send(client, *attributes) == []
    client, relayed = permitted(World(replace(SETTINGS, dont_fragment=True)))
    assert send(client, *attributes) == [
        UnfragmentedTransmit(b"x", Path(Transport.UDP, relayed, PEER))
    ]
    (plain,) = send(client, *attributes[:2])
    assert type(plain) is Transmit


@pytest.mark.parametrize("method", [Method.DATA, Method.BINDING, Method.ALLOCATE])
def test_other_indications_of_a_client_are_ignored(method: Method) -> None:
    client, _ = permitted(World())
    message = Message.indication(method, ID, XorPeerAddress(PEER), Data(b"x"))
    assert client.send(message.encode()) == []


def test_a_send_request_is_no_method() -> None:
    client, _ = permitted(World())
    message = Message(Method.SEND, MessageClass.REQUEST, ID, (XorPeerAddress(PEER), Data(b"x")))
    assert client.send(message.encode()) == []


# Data indications.


@TRANSPORTS
@pytest.mark.parametrize("data", [b"", b"x", bytes(MAXIMUM_DATA)])
def test_a_datagram_becomes_a_data_indication(transport: Transport, data: bytes) -> None:
    world = World()
    client, relayed = permitted(world, transport)
    (sent,) = world.from_peer(data, PEER, relayed)
    assert sent.path == client.path
    message = Message.parse(sent.data)
    assert (message.method, message.message_class) == (Method.DATA, MessageClass.INDICATION)
    assert message.attributes == (XorPeerAddress(PEER), Data(data))


def test_two_data_indications_have_two_transaction_ids() -> None:
    world = World()
    _, relayed = permitted(world)
    sent = world.from_peer(b"x", PEER, relayed) + world.from_peer(b"x", PEER, relayed)
    assert len({Message.parse(each.data).transaction_id for each in sent}) == 2


def test_a_datagram_that_fits_no_indication_is_dropped() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate(RequestedAddressFamily(2))
    client.permit(PEER6)
    assert len(world.from_peer(bytes(MAXIMUM_DATA), PEER6, relayed)) == 1
    assert world.from_peer(bytes(MAXIMUM_DATA + 1), PEER6, relayed) == []


def test_a_peers_stun_is_relayed_and_not_answered() -> None:
    world = World()
    client, relayed = permitted(world)
    binding = Message.request(Method.BINDING, ID).encode()
    (sent,) = world.from_peer(binding, PEER, relayed)
    assert sent.path == client.path
    assert Message.parse(sent.data).get(Data) == Data(binding)


# ChannelData.


@TRANSPORTS
@pytest.mark.parametrize("data", [b"", b"x", b"data of a length"])
def test_channel_data_becomes_a_datagram(transport: Transport, data: bytes) -> None:
    client, relayed = bound(World(), transport)
    message = b"\x40\x01" + len(data).to_bytes(2, "big") + data
    expected = [Transmit(data, Path(Transport.UDP, relayed, PEER))]
    assert client.send(message) == expected
    assert client.send(message + bytes(-len(data) % 4)) == expected


@pytest.mark.parametrize(
    "message",
    [
        b"\x40",
        b"\x40\x01\x00",
        b"\x40\x01\x00\x01",
        b"\x40\x01\xff\xffdata",
        b"\x40\x02\x00\x00",
        b"\x7f\xff\x00\x00",
        b"\x50\x01\x00\x00",
        b"\x80\x01\x00\x00",
    ],
)
def test_channel_data_that_is_short_or_on_no_channel_is_dropped(message: bytes) -> None:
    client, _ = bound(World())
    assert client.send(message) == []


def test_channel_data_of_a_stranger_is_dropped() -> None:
    world = World()
    bound(world)
    assert world.client(port=9).send(b"\x40\x01\x00\x00") == []


@TRANSPORTS
def test_a_datagram_of_a_bound_peer_becomes_channel_data(transport: Transport) -> None:
    world = World()
    client, relayed = bound(world, transport)
    for data in (b"", b"x", b"1234", b"12345"):
        (sent,) = world.from_peer(data, PEER, relayed)
        padding = bytes(-len(data) % 4) if transport is Transport.TCP else b""
        assert sent.data == b"\x40\x01" + len(data).to_bytes(2, "big") + data + padding
        assert sent.path == client.path


# From relay to relay.


def test_two_clients_reach_each_other_through_the_server() -> None:
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    relayed_a, relayed_b = alice.allocate(), bob.allocate()
    alice.permit(relayed_b)
    bob.permit(relayed_a)
    (datagram,) = send(alice, XorPeerAddress(relayed_b), Data(b"hello"))
    assert datagram.path == Path(Transport.UDP, relayed_a, relayed_b)
    (sent,) = world.from_peer(datagram.data, datagram.path.local, datagram.path.remote)
    assert sent.path == bob.path
    assert Message.parse(sent.data).get(Data) == Data(b"hello")


def test_a_permission_for_a_relayed_address_sends_to_no_other_port() -> None:
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    alice.allocate()
    relayed = bob.allocate()
    alice.permit(relayed)
    assert len(send(alice, XorPeerAddress(relayed), Data(b"x"))) == 1
    for port in (1, 3478, relayed.port ^ 1):
        assert send(alice, XorPeerAddress(Address(relayed.host, port)), Data(b"x")) == []


def test_an_allowed_host_is_open_at_every_port_whoever_relays_there() -> None:
    network = ip_network("198.51.100.0/24")
    world = World(replace(SETTINGS, allowed_peers=(network,)))
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    alice.allocate()
    relayed = bob.allocate()
    alice.permit(relayed)
    assert len(send(alice, XorPeerAddress(Address(relayed.host, 1)), Data(b"x"))) == 1
