"""Allocations with two relayed addresses, one of each family (RFC 8656 §7.2, §8)."""

from dataclasses import replace

import pytest

from natkit.address import Address, Family
from natkit.machine import CloseSocket, Failure, Path, Transmit, Transport
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    AddressErrorCode,
    Attribute,
    ChannelNumber,
    Data,
    EvenPort,
    Lifetime,
    MobilityTicket,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    SsodaAdditionalAddressFamily,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from stun_server.allocate import MAX_TRIES
from stun_server.authentication import Account
from stun_server.events import (
    AllocationClosed,
    AllocationGivenAway,
    AllocationOpened,
    AllocationRefreshed,
    CloseReason,
    RelayedAddressClosed,
    TakeAllocation,
)
from stun_server.handover import Snapshot
from tests.stun_server.world import (
    LISTENER,
    LISTENER6,
    PEER,
    PEER6,
    REALM,
    SETTINGS,
    Client,
    World,
    code,
)

UDP = RequestedTransport(17)
DUAL = AdditionalAddressFamily(2)
IPV4, IPV6 = RequestedAddressFamily(1), RequestedAddressFamily(2)
IN_USE = Failure("in use", address_in_use=True)
NO_IPV6 = AddressErrorCode(2, 440, "Address Family not Supported")
NO_IPV4_PORT = AddressErrorCode(1, 508, "Insufficient Capacity")
NO_IPV6_PORT = AddressErrorCode(2, 508, "Insufficient Capacity")


def relayed(response: Message) -> list[Address]:
    return [attribute.address for attribute in response.get_all(XorRelayedAddress)]


def dual(client: Client, *attributes: Attribute) -> tuple[Address, Address]:
    """Allocate addresses of both families."""
    addresses = relayed(client.request(Method.ALLOCATE, UDP, DUAL, *attributes))
    assert [each.family for each in addresses] == [Family.IPV4, Family.IPV6]
    return addresses[0], addresses[1]


# Allocate.


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP, Transport.DTLS])
def test_an_address_of_each_family_is_granted(transport: Transport) -> None:
    world = World()
    client = world.client(transport=transport)
    first, second = dual(client)
    assert (first.host, second.host) == (LISTENER.host, LISTENER6.host)
    assert world.sockets == {first, second}
    (opened,) = world.take_events(AllocationOpened)
    assert opened == AllocationOpened(
        1, client.path, first, "alice", world.now + 600, second, realm=REALM
    )


def test_the_attribute_may_have_the_number_of_its_draft() -> None:
    client = World().client()
    response = client.request(Method.ALLOCATE, UDP, SsodaAdditionalAddressFamily(2))
    assert [each.family for each in relayed(response)] == [Family.IPV4, Family.IPV6]
    other = World().client()
    for refused in (SsodaAdditionalAddressFamily(2), ReservationToken(bytes(8))):
        wrong = (SsodaAdditionalAddressFamily(1), refused)
        assert code(other.request(Method.ALLOCATE, UDP, *wrong)) == 400


def test_both_ports_are_even_when_one_was_asked_to_be() -> None:
    for seed in range(8):
        first, second = dual(World(seed=seed).client(), EvenPort())
        assert (first.port % 2, second.port % 2) == (0, 0)


@pytest.mark.parametrize(
    "attributes",
    [
        (DUAL, IPV4),
        (DUAL, IPV6),
        (DUAL, EvenPort(reserve_next=True)),
        (DUAL, ReservationToken(bytes(8))),
        (AdditionalAddressFamily(1),),
        (AdditionalAddressFamily(7),),
    ],
    ids=["and ipv4", "and ipv6", "and a pair", "and a token", "of ipv4", "of no family"],
)
def test_what_does_not_go_with_an_additional_family_is_a_bad_request(
    attributes: tuple[Attribute, ...],
) -> None:
    world = World()
    assert code(world.client().request(Method.ALLOCATE, UDP, *attributes)) == 400
    assert not world.opened


@pytest.mark.parametrize(
    ("listener", "error"), [(LISTENER, NO_IPV6), (LISTENER6, replace(NO_IPV6, family=1))]
)
def test_a_family_that_the_server_lacks_is_told_beside_the_other(
    listener: Address, error: AddressErrorCode
) -> None:
    world = World(replace(SETTINGS, listeners=(listener,)))
    client = Client(world, Address("192.0.2.7", 40000), listener=listener)
    response = client.request(Method.ALLOCATE, UDP, DUAL)
    assert [each.host for each in relayed(response)] == [listener.host]
    assert response.get_all(AddressErrorCode) == (error,)
    (opened,) = world.take_events(AllocationOpened)
    assert opened.second is None


@pytest.mark.parametrize(
    ("refused", "error"), [(LISTENER, NO_IPV4_PORT), (LISTENER6, NO_IPV6_PORT)]
)
def test_a_family_without_a_free_port_is_told_beside_the_other(
    refused: Address, error: AddressErrorCode
) -> None:
    world = World()
    world.hold_sockets = True
    client = world.client()
    client.challenge()
    sent = client.send(client.form(Method.ALLOCATE, UDP, DUAL))
    tries = 0
    while not sent:
        wanted = world.opened[-1]
        if wanted.local.host == refused.host:
            tries += 1
            world.server.answer(wanted.request_id, IN_USE, world.now)
        else:
            world.answer_socket(wanted)
        sent = world.drain()
    assert tries == MAX_TRIES
    response = Message.parse(sent[0].data)
    assert [each.host == refused.host for each in relayed(response)] == [False]
    assert response.get_all(AddressErrorCode) == (error,)
    assert world.sockets == set(relayed(response))


def test_without_a_port_of_either_family_there_is_no_allocation() -> None:
    world = World()
    world.refuse_sockets = Failure("no descriptors left")
    assert code(world.client().request(Method.ALLOCATE, UDP, DUAL)) == 508
    assert {each.local.host for each in world.opened} == {LISTENER.host, LISTENER6.host}
    world.refuse_sockets = None
    # Nothing is held for it any more.
    dual(world.client())


def test_a_socket_that_came_for_a_client_that_is_gone_is_closed() -> None:
    world = World()
    world.hold_sockets = True
    client = world.client(transport=Transport.TCP)
    client.challenge()
    client.send(client.form(Method.ALLOCATE, UDP, DUAL))
    world.answer_socket(world.opened[-1])
    world.drain()
    assert len(world.sockets) == 1
    world.server.disconnected(client.path, world.now)
    world.drain()
    assert not world.sockets


# Quotas.


def test_each_address_counts_in_the_users_quota() -> None:
    world = World(replace(SETTINGS, allocations_per_user=3))
    first, second, third = (world.client(port=port) for port in (1, 2, 3))
    dual(first)
    assert code(second.request(Method.ALLOCATE, UDP, DUAL)) == 486
    second.allocate()
    assert code(third.request(Method.ALLOCATE, UDP)) == 486
    first.request(Method.REFRESH, Lifetime(0), IPV6)
    third.allocate()
    first.request(Method.REFRESH, Lifetime(0))
    assert relayed(first.request(Method.ALLOCATE, UDP))


def test_a_server_with_room_for_one_grants_ipv4() -> None:
    world = World(replace(SETTINGS, allocations=1))
    response = world.client().request(Method.ALLOCATE, UDP, DUAL)
    assert [each.family for each in relayed(response)] == [Family.IPV4]
    assert response.get_all(AddressErrorCode) == (NO_IPV6_PORT,)
    assert code(world.client(port=2).request(Method.ALLOCATE, UDP, DUAL)) == 508


# Refresh.


def test_a_refresh_without_a_family_is_for_both() -> None:
    world = World()
    client = world.client()
    dual(client)
    world.wait(500)
    assert client.request(Method.REFRESH).get(Lifetime) == Lifetime(600)
    assert world.take_events(AllocationRefreshed) == [AllocationRefreshed(1, world.now + 600)]
    world.wait(599)
    assert len(world.sockets) == 2
    world.wait(2)
    assert not world.sockets
    (closed,) = world.take_events(AllocationClosed)
    assert closed.reason is CloseReason.EXPIRED


@pytest.mark.parametrize("kept", [IPV4, IPV6])
def test_an_address_that_is_not_refreshed_expires_alone(kept: RequestedAddressFamily) -> None:
    world = World()
    client = world.client()
    addresses = dual(client)
    staying, leaving = sorted(addresses, key=lambda each: each.family != kept.family)
    world.wait(500)
    client.request(Method.REFRESH, kept)
    (refreshed,) = world.take_events(AllocationRefreshed)
    assert refreshed == AllocationRefreshed(1, world.now + 600, staying.family)
    world.wait(101)
    assert world.sockets == {staying}
    assert world.take_events(RelayedAddressClosed) == [
        RelayedAddressClosed(1, leaving, CloseReason.EXPIRED)
    ]
    gone = RequestedAddressFamily(leaving.family)
    assert code(client.request(Method.REFRESH, gone)) == 443
    world.wait(600)
    assert not world.sockets
    assert world.take_events(AllocationClosed) == [
        AllocationClosed(1, client.path, staying, CloseReason.EXPIRED, "alice")
    ]


@pytest.mark.parametrize("ended", [IPV4, IPV6])
def test_deleting_one_address_ends_its_permissions_and_channels_alone(
    ended: RequestedAddressFamily,
) -> None:
    world = World()
    client = world.client()
    addresses = dual(client)
    staying, leaving = sorted(addresses, key=lambda each: each.family == ended.family)
    peers = {Family.IPV4: PEER, Family.IPV6: PEER6}
    for number, peer in ((0x4000, PEER), (0x4001, PEER6)):
        bound = client.request(Method.CHANNEL_BIND, ChannelNumber(number), XorPeerAddress(peer))
        assert code(bound) is None
    assert client.request(Method.REFRESH, Lifetime(0), ended).get(Lifetime) == Lifetime(0)
    assert world.sockets == {staying}
    assert world.take_events(RelayedAddressClosed) == [
        RelayedAddressClosed(1, leaving, CloseReason.DELETED)
    ]
    assert world.take_events(CloseSocket) == [CloseSocket(leaving)]
    assert world.from_peer(b"late", peers[leaving.family], leaving) == []
    (data,) = world.from_peer(b"data", peers[staying.family], staying)
    assert ChannelData.parse(data.data).data == b"data"
    left, gone = (0x4000, 0x4001) if staying.family is Family.IPV4 else (0x4001, 0x4000)
    assert client.send(ChannelData(gone, b"x").encode(padded=False)) == []
    assert len(client.send(ChannelData(left, b"x").encode(padded=False))) == 1
    assert code(client.permit(peers[leaving.family])) == 443
    assert code(client.permit(peers[staying.family])) is None
    # What its quota held is free, and the port with it.
    client.request(Method.REFRESH, Lifetime(0))
    dual(client)


def test_deleting_both_addresses_one_after_the_other_ends_the_allocation() -> None:
    world = World()
    client = world.client()
    dual(client)
    client.request(Method.REFRESH, Lifetime(0), IPV4)
    client.request(Method.REFRESH, Lifetime(0), IPV6)
    assert len(world.take_events(AllocationClosed)) == 1
    assert code(client.request(Method.REFRESH)) == 437


def test_a_closed_connection_closes_both_addresses() -> None:
    world = World()
    client = world.client(transport=Transport.TLS)
    first, second = dual(client)
    world.server.disconnected(client.path, world.now)
    world.drain()
    assert not world.sockets
    for address in (first, second):
        assert world.server.allocations.of_relayed(address) is None


# Data.


def test_data_leaves_from_the_address_of_the_peers_family() -> None:
    world = World()
    client = world.client()
    first, second = dual(client)
    assert code(client.permit(PEER, PEER6)) is None
    for peer, address in ((PEER, first), (PEER6, second)):
        indication = Message.indication(
            Method.SEND, bytes(12), XorPeerAddress(peer), Data(b"hello")
        )
        sent = client.send(indication.encode())
        assert sent == [Transmit(b"hello", Path(Transport.UDP, address, peer))]
        (back,) = world.from_peer(b"back", peer, address)
        assert Message.parse(back.data).get(XorPeerAddress) == XorPeerAddress(peer)


def test_a_channel_leads_to_a_peer_of_either_family() -> None:
    world = World()
    client = world.client()
    first, second = dual(client)
    for number, peer, address in ((0x4000, PEER, first), (0x4001, PEER6, second)):
        client.request(Method.CHANNEL_BIND, ChannelNumber(number), XorPeerAddress(peer))
        sent = client.send(ChannelData(number, b"x").encode(padded=False))
        assert sent == [Transmit(b"x", Path(Transport.UDP, address, peer))]


def test_two_clients_reach_each_other_at_both_addresses() -> None:
    world = World()
    caller, callee = world.client(port=1), world.client(port=2)
    dual(caller)
    for address in dual(callee):
        # Policy refuses these hosts: they are documentation's.
        assert code(caller.permit(address)) is None


def test_a_peer_of_a_family_that_was_not_granted_is_443() -> None:
    client = World(replace(SETTINGS, listeners=(LISTENER,))).client()
    client.request(Method.ALLOCATE, UDP, DUAL)
    assert code(client.permit(PEER, PEER6)) == 443
    bind = (ChannelNumber(0x4000), XorPeerAddress(PEER6))
    assert code(client.request(Method.CHANNEL_BIND, *bind)) == 443


# Clients that move (RFC 8016).


def test_both_addresses_move_with_their_client() -> None:
    world = World()
    client = world.client()
    response = client.request(Method.ALLOCATE, UDP, DUAL, MobilityTicket(b""))
    first, second = relayed(response)
    ticket = response.get(MobilityTicket)
    assert ticket is not None
    client.permit(PEER, PEER6)
    there = world.client("203.0.113.9", 41000)
    assert code(there.request(Method.REFRESH, ticket)) is None
    assert code(there.request(Method.REFRESH)) is None
    for peer, address in ((PEER, first), (PEER6, second)):
        (sent,) = world.from_peer(b"data", peer, address)
        assert sent.path == there.path


def test_when_the_connection_breaks_neither_address_waits_longer_than_the_other() -> None:
    world = World()
    client = world.client(transport=Transport.TCP)
    response = client.request(Method.ALLOCATE, UDP, DUAL, MobilityTicket(b""))
    first, _ = relayed(response)
    world.wait(500)
    client.request(Method.REFRESH, IPV6)
    world.server.disconnected(client.path, world.now)
    world.drain()
    world.wait(101)
    assert first not in world.sockets
    assert len(world.sockets) == 1
    world.wait(20)
    assert not world.sockets
    assert len(world.server.allocations) == 0


def test_both_addresses_go_to_the_worker_where_their_client_turns_up() -> None:
    owner, taker = World(replace(SETTINGS, worker=3)), World(replace(SETTINGS, worker=5))
    client = owner.client()
    response = client.request(Method.ALLOCATE, UDP, DUAL, MobilityTicket(b""))
    addresses = tuple(relayed(response))
    ticket = response.get(MobilityTicket)
    assert ticket is not None
    client.permit(PEER, PEER6)
    client.request(Method.REFRESH, Lifetime(3000), IPV6)
    there = taker.client("203.0.113.9", 41000)
    there.send(there.form(Method.REFRESH, ticket, IPV4))
    (asked,) = taker.take_events(TakeAllocation)
    snapshot = owner.server.give_away(asked.ticket, Account("alice", REALM), owner.now)
    owner.drain()
    assert snapshot is not None
    assert snapshot.relayed_addresses == addresses
    (given,) = owner.take_events(AllocationGivenAway)
    assert given.relayed_addresses == addresses
    owner.sockets.clear()
    taker.sockets.update(addresses)
    carried = Snapshot.from_json(snapshot.to_json())
    taker.server.answer(asked.request_id, carried, taker.now)
    taker.drain()
    (opened,) = taker.take_events(AllocationOpened)
    assert opened.relayed_addresses == addresses
    for peer, address in zip((PEER, PEER6), addresses, strict=True):
        (sent,) = taker.from_peer(b"data", peer, address)
        assert sent.path == there.path
    taker.wait(2_000)
    assert taker.sockets == {addresses[1]}
    taker.wait(1_001)
    assert not taker.sockets
    # The quota of the worker that gave it away is free.
    dual(owner.client(port=2))
