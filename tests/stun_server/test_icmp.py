"""ICMP errors that met relayed packets, by RFC 8656 §11.5."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Path, Transmit, Transport
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    ChannelNumber,
    Data,
    Icmp,
    RequestedAddressFamily,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from stun_server.icmp import TOLD_PER_SECOND
from tests.stun_server.world import LISTENER, OTHER_PEER, PEER, PEER6, World

PORT_UNREACHABLE = Icmp(3, 3)
IPV6 = RequestedAddressFamily(2)


def told(world: World, icmp: Icmp, relayed: Address, peer: Address = PEER) -> list[Transmit]:
    """What the server sends because of an error on the way from a relayed address to a peer."""
    world.server.icmp_received(icmp, Path(Transport.UDP, relayed, peer), world.now)
    return world.drain()


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.DTLS])
@pytest.mark.parametrize(
    "icmp", [PORT_UNREACHABLE, Icmp(3, 1), Icmp(3, 4, 1280), Icmp(11, 0)], ids=str
)
def test_the_client_is_told_which_error_met_what_it_sent_to_whom(
    transport: Transport, icmp: Icmp
) -> None:
    world = World()
    client = world.client(transport=transport)
    relayed = client.allocate()
    client.permit(PEER)
    (sent,) = told(world, icmp, relayed)
    assert sent.path == client.path
    indication = Message.parse(sent.data)
    assert (indication.message_class, indication.method) == (MessageClass.INDICATION, Method.DATA)
    assert indication.attributes == (XorPeerAddress(PEER), icmp)
    assert indication.get(Data) is None


@pytest.mark.parametrize(
    ("icmp", "is_told"),
    [
        (Icmp(1, 4), True),
        (Icmp(2, 0, 1280), True),
        (Icmp(3, 0), True),
        (Icmp(4, 1), False),
        (Icmp(128, 0), False),
    ],
    ids=str,
)
def test_errors_of_icmpv6_are_of_types_of_their_own(icmp: Icmp, is_told: bool) -> None:
    world = World()
    client = world.client()
    relayed = client.allocate(IPV6)
    client.permit(PEER6)
    assert bool(told(world, icmp, relayed, PEER6)) == is_told


@pytest.mark.parametrize("icmp_type", [0, 1, 2, 4, 5, 8, 12])
def test_other_types_of_icmp_are_dropped(icmp_type: int) -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    assert told(world, Icmp(icmp_type, 0), relayed) == []


def test_an_error_on_a_channel_is_told_in_an_indication() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.request(Method.CHANNEL_BIND, ChannelNumber(0x4000), XorPeerAddress(PEER))
    (sent,) = told(world, PORT_UNREACHABLE, relayed)
    assert Message.parse(sent.data).get(Icmp) == PORT_UNREACHABLE


def test_who_has_no_permission_for_the_destination_is_not_told() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    assert told(world, PORT_UNREACHABLE, relayed, OTHER_PEER) == []
    # Ports are not compared.
    assert len(told(world, PORT_UNREACHABLE, relayed, PEER._replace(port=1))) == 1
    world.wait(301)
    assert told(world, PORT_UNREACHABLE, relayed) == []


def test_of_a_host_that_is_permitted_for_relayed_addresses_other_ports_are_not_told() -> None:
    world = World()
    client, callee = world.client(port=1), world.client(port=2)
    relayed, other = client.allocate(), callee.allocate()
    client.permit(other)
    assert len(told(world, PORT_UNREACHABLE, relayed, other)) == 1
    assert told(world, PORT_UNREACHABLE, relayed, LISTENER) == []


def test_an_error_for_an_address_that_nobody_has_is_dropped() -> None:
    world = World()
    assert told(world, PORT_UNREACHABLE, Address(LISTENER.host, 50_000)) == []


def test_both_addresses_of_a_dual_allocation_meet_errors() -> None:
    world = World()
    client = world.client()
    client.allocate(AdditionalAddressFamily(2))
    client.permit(PEER, PEER6)
    (allocation,) = world.server.allocations
    first, second = allocation.relayed_addresses
    assert len(told(world, PORT_UNREACHABLE, first, PEER)) == 1
    assert len(told(world, Icmp(1, 4), second, PEER6)) == 1


def test_a_client_is_told_of_so_many_errors_a_second_and_no_more() -> None:
    world = World()
    clients = [world.client(port=port) for port in (1, 2)]
    relayed = [client.allocate() for client in clients]
    for client in clients:
        client.permit(PEER)
    counts = [len(told(world, PORT_UNREACHABLE, relayed[0])) for _ in range(3 * TOLD_PER_SECOND)]
    assert sum(counts) == TOLD_PER_SECOND
    # Another client's errors do not count.
    assert len(told(world, PORT_UNREACHABLE, relayed[1])) == 1
    world.now += 1
    assert len(told(world, replace(PORT_UNREACHABLE, icmp_code=1), relayed[0])) == 1
