"""Clients with TCP allocations and their peers, at a server machine whose shell is the test."""

from natkit.address import Address
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import (
    Attribute,
    ConnectionId,
    RequestedTransport,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import TCP_PROTOCOL, Method
from stun_server.connection_events import ConnectPeer
from tests.stun_server.world import PEER, Client, World

TCP = RequestedTransport(TCP_PROTOCOL)


def tcp_client(
    world: World,
    *,
    port: int = 40000,
    username: str = "alice",
    transport: Transport = Transport.TCP,
) -> Client:
    """A client on a connection."""
    return world.client(port=port, username=username, transport=transport)


def allocate_tcp(client: Client, *attributes: Attribute) -> Address:
    """Allocate for TCP; the relayed address."""
    response = client.request(Method.ALLOCATE, TCP, *attributes)
    relayed = response.get(XorRelayedAddress)
    assert relayed is not None, response
    return relayed.address


def begin_connect(client: Client, peer: Address = PEER) -> ConnectPeer:
    """Ask for a connection to a peer; what the shell is asked."""
    assert client.send(client.form(Method.CONNECT, XorPeerAddress(peer))) == []
    (request,) = client.world.take_events(ConnectPeer)
    return request


def connect(client: Client, peer: Address = PEER) -> int:
    """A connection to a peer; its id."""
    (answer,) = client.world.answer_connect(begin_connect(client, peer))
    assert answer.path == client.path
    return connection_id(Message.parse(answer.data))


def attempt(world: World, relayed: Address, peer: Address = PEER) -> list[Transmit]:
    """A peer connects to a relayed address; what the server sends."""
    world.server.accepted(Path(Transport.TCP, relayed, peer), world.now)
    return world.drain()


def connection_id(message: Message) -> int:
    """The id in a response or an indication."""
    attribute = message.get(ConnectionId)
    assert attribute is not None, message
    return attribute.value


def bind(client: Client, number: int) -> Message:
    """ConnectionBind from this client's connection, and its answer."""
    return client.request(Method.CONNECTION_BIND, ConnectionId(number))
