"""A server behind a one-to-one NAT: what clients are told, and how two of them meet."""

from dataclasses import replace

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import ChannelNumber, Data, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from tests.stun_server.world import PEER, SETTINGS, Client, World, code

LOCAL = "10.0.0.5"
OUTSIDE = "203.0.113.77"
BEHIND = replace(SETTINGS, relay_ipv4=LOCAL, external=((LOCAL, OUTSIDE),))


def local(address: Address) -> Address:
    return address._replace(host=LOCAL)


def pair() -> tuple[World, Client, Address, Client, Address]:
    world = World(BEHIND)
    first, second = world.client(port=1), world.client(port=2)
    return world, first, first.allocate(), second, second.allocate()


def test_a_client_is_told_the_address_outside() -> None:
    world = World(BEHIND)
    relayed = world.client().allocate()
    assert relayed.host == OUTSIDE
    assert local(relayed) in world.sockets


def test_peers_outside_are_relayed_from_the_local_address() -> None:
    world = World(BEHIND)
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    message = Message.indication(Method.SEND, bytes(12), XorPeerAddress(PEER), Data(b"x"))
    (sent,) = client.send(message.encode())
    assert sent.path == Path(Transport.UDP, local(relayed), PEER)
    (back,) = world.from_peer(b"y", PEER, local(relayed))
    assert Message.parse(back.data).get(XorPeerAddress) == XorPeerAddress(PEER)


def test_two_clients_of_the_server_meet_by_their_outside_addresses() -> None:
    world, first, one, second, two = pair()
    assert code(first.permit(two)) is None
    assert code(second.permit(one)) is None
    message = Message.indication(Method.SEND, bytes(12), XorPeerAddress(two), Data(b"x"))
    (sent,) = first.send(message.encode())
    # It never leaves the machine, so no NAT has to hairpin.
    assert sent.path == Path(Transport.UDP, local(one), local(two))
    (heard,) = world.from_peer(sent.data, local(one), local(two))
    assert heard.path == second.path
    assert Message.parse(heard.data).get(XorPeerAddress) == XorPeerAddress(one)


def test_a_channel_to_an_outside_address_leads_to_the_local_one() -> None:
    world, first, one, second, two = pair()
    second.permit(one)
    bound = first.request(Method.CHANNEL_BIND, ChannelNumber(0x4000), XorPeerAddress(two))
    assert code(bound) is None
    (sent,) = first.send(ChannelData(0x4000, b"x").encode(padded=False))
    assert sent.path == Path(Transport.UDP, local(one), local(two))
    (heard,) = world.from_peer(b"y", local(two), local(one))
    assert ChannelData.parse(heard.data) == ChannelData(0x4000, b"y")


def test_nothing_else_of_this_machine_is_reached_by_its_outside_address() -> None:
    world, first, one, _, two = pair()
    assert code(first.permit(Address(OUTSIDE, 22))) == 403
    first.permit(two)
    message = Message.indication(
        Method.SEND, bytes(12), XorPeerAddress(Address(OUTSIDE, 22)), Data(b"x")
    )
    assert first.send(message.encode()) == []
    assert world.from_peer(b"x", Address(LOCAL, 22), local(one)) == []


def test_another_outside_address_counts_from_the_reload_on() -> None:
    world = World(BEHIND)
    world.client(port=1).allocate()
    world.server.configure(replace(BEHIND, external=((LOCAL, "203.0.113.78"),)), world.now)
    world.drain()
    assert world.client(port=2).allocate().host == "203.0.113.78"
