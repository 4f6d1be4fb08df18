"""Machines that share what the workers of one server share: limits, and relayed addresses."""

from dataclasses import replace
from functools import partial

from natkit.address import Address
from natkit.machine import CloseSocket, Failure, Path, Transport
from natkit.stun.attributes import (
    ChannelNumber,
    EvenPort,
    Lifetime,
    RequestedTransport,
    ReservationToken,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from stun_server.authentication import Account
from stun_server.events import TakeReservation
from stun_server.pending import PENDING_LIFETIME
from stun_server.settings import PortRange, Settings
from stun_server.sharing import Sharing
from tests.stun_server.connections import allocate_tcp, begin_connect, connect, tcp_client
from tests.stun_server.world import OTHER_PEER, PEER, REALM, SETTINGS, Client, World, code

UDP = RequestedTransport(17)


def workers(count: int, settings: Settings = SETTINGS) -> list[World]:
    """Machines that know of each other; a port that one has bound is in use for the others."""
    shared = Sharing()
    worlds: list[World] = []

    def elsewhere(number: int, address: Address) -> bool:
        others = (world.server.allocations for world in worlds if world.settings.worker != number)
        return any(each.of_relayed(address) is not None for each in others)

    def tcp_elsewhere(number: int, address: Address) -> bool:
        others = (world.server.allocations for world in worlds if world.settings.worker != number)
        return any(each.of_tcp_relayed(address) is not None for each in others)

    for number in range(count):
        sharing = replace(
            shared,
            relays_elsewhere=partial(elsewhere, number),
            relays_tcp_elsewhere=partial(tcp_elsewhere, number),
        )
        worlds.append(World(replace(settings, worker=number), seed=number, sharing=sharing))
    return worlds


def allocate(world: World, port: int, username: str = "alice") -> int | None:
    return code(world.client(port=port, username=username).request(Method.ALLOCATE, UDP))


def test_the_quota_of_a_user_is_one_for_all_workers() -> None:
    first, second = workers(2, replace(SETTINGS, allocations_per_user=3))
    assert [allocate(first, 1), allocate(second, 1), allocate(first, 2)] == [None] * 3
    assert [allocate(first, 3), allocate(second, 3)] == [486, 486]
    assert allocate(second, 4, "bob") is None
    first.client(port=1).request(Method.REFRESH)
    first.wait(600)
    assert allocate(second, 5) is None


def test_the_limit_of_the_server_is_one_for_all_workers() -> None:
    first, second = workers(2, replace(SETTINGS, allocations=2))
    assert [allocate(first, 1), allocate(second, 1, "bob")] == [None] * 2
    assert [allocate(first, 2), allocate(second, 2, "bob")] == [508, 508]


def test_what_is_reserved_or_being_opened_at_one_worker_counts_at_the_others() -> None:
    first, second = workers(2, replace(SETTINGS, allocations_per_user=2))
    first.hold_sockets = True
    first.client(port=1).send(
        first.client(port=1).form(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    )
    assert allocate(second, 1) == 486
    first.wait(10)
    assert allocate(second, 2) is None


def test_clients_of_different_workers_reach_each_other_by_their_relayed_addresses() -> None:
    # The relayed host is in a documentation range, which policy refuses otherwise.
    first, second = workers(2)
    alice, bob = first.client(port=1), second.client(port=2, username="bob")
    relayed_a, relayed_b = alice.allocate(), bob.allocate()
    assert code(alice.permit(relayed_b)) is None
    channel = (ChannelNumber(0x4001), XorPeerAddress(relayed_b))
    assert code(alice.request(Method.CHANNEL_BIND, *channel)) is None
    (sent,) = alice.send(ChannelData(0x4001, b"to bob").encode(padded=False))
    assert sent.path == Path(Transport.UDP, relayed_a, relayed_b)
    assert len(first.from_peer(b"to alice", relayed_b, relayed_a)) == 1
    # No other port of that host, and nothing once it is closed.
    assert first.from_peer(b"to alice", relayed_b._replace(port=1), relayed_a) == []
    second.server.disconnected(bob.path, second.now)
    second.drain()
    assert first.from_peer(b"to alice", relayed_b, relayed_a) == []
    assert alice.send(ChannelData(0x4001, b"to bob").encode(padded=False)) == []


def test_the_limits_on_permissions_and_channels_are_one_for_all_workers() -> None:
    settings = replace(SETTINGS, permissions_per_user=2, channels_per_user=1)
    first, second = workers(2, settings)
    here, there = first.client(port=1), second.client(port=2)
    here.allocate()
    there.allocate()
    assert code(here.permit(PEER)) is None
    channel = (ChannelNumber(0x4001), XorPeerAddress(PEER))
    assert code(there.request(Method.CHANNEL_BIND, *channel)) is None
    assert code(here.request(Method.CHANNEL_BIND, *channel)) == 508
    assert code(here.permit(OTHER_PEER)) == 508
    there.request(Method.REFRESH, Lifetime(0))
    assert code(here.request(Method.CHANNEL_BIND, *channel)) is None
    assert code(here.permit(OTHER_PEER)) is None


def test_the_limits_on_peer_connections_are_one_for_all_workers() -> None:
    settings = replace(SETTINGS, peer_connections=3, peer_connections_per_user=2)
    first, second = workers(2, settings)
    here, there = tcp_client(first, port=1), tcp_client(second, port=2)
    other = tcp_client(second, port=3, username="bob")
    for each in (here, there, other):
        allocate_tcp(each)
    connect(here)
    connect(there)
    wish = XorPeerAddress(OTHER_PEER)
    assert code(here.request(Method.CONNECT, wish)) == 486
    connect(other)
    assert code(other.request(Method.CONNECT, wish)) == 508
    here.world.server.disconnected(here.path, here.world.now)
    here.world.drain()
    connect(there, OTHER_PEER)


def test_a_relayed_tcp_address_of_another_worker_is_reached_by_tcp_alone() -> None:
    # The relayed host is in a documentation range, which policy refuses otherwise.
    first, second = workers(2)
    here, there = tcp_client(first, port=1), tcp_client(second, port=2)
    plain = first.client(port=3)
    allocate_tcp(here)
    relayed = allocate_tcp(there)
    assert begin_connect(here, relayed).peer == relayed
    plain.allocate()
    # The host has a relayed address, so it is permitted; its port is none of UDP.
    plain.permit(relayed)
    channel = (ChannelNumber(0x4001), XorPeerAddress(relayed))
    assert code(plain.request(Method.CHANNEL_BIND, *channel)) == 403
    there.world.server.disconnected(there.path, there.world.now)
    there.world.drain()
    again = tcp_client(first, port=4)
    allocate_tcp(again)
    assert code(again.request(Method.CONNECT, XorPeerAddress(relayed))) == 403


def test_a_port_of_another_worker_is_not_tried() -> None:
    first, second = workers(2, replace(SETTINGS, relay_ports=PortRange(50_000, 50_003)))
    taken = {first.client(port=port).allocate() for port in (1, 2)}
    free = {second.client(port=port).allocate() for port in (1, 2)}
    assert not taken & free
    assert len(second.opened) == 2
    assert [allocate(first, 3), allocate(second, 3)] == [508, 508]


def reserve(world: World, port: int, username: str = "alice") -> tuple[Client, ReservationToken]:
    """A client of this worker that has a second port reserved."""
    client = world.client(port=port, username=username)
    response = client.request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    token = response.get(ReservationToken)
    assert token is not None
    return client, token


def redeem(world: World, token: ReservationToken, port: int, username: str) -> TakeReservation:
    """A client of another worker comes with the token: what that worker asks of the owner."""
    client = world.client(port=port, username=username)
    assert client.send(client.form(Method.ALLOCATE, UDP, token)) == []
    (event,) = world.take_events(TakeReservation)
    return event


def fulfil(owner: World, taker: World, event: TakeReservation) -> Message:
    """Do what the shells do; the client's answer."""
    account = Account(event.username, event.realm)
    relayed = owner.server.give_reservation(
        event.token, account, owner.now, may_count=event.may_count
    )
    assert owner.take_events(CloseSocket) == []
    if relayed is None:
        taker.server.answer(event.request_id, Failure("no"), taker.now)
    else:
        owner.sockets.remove(relayed)
        taker.sockets.add(relayed)
        taker.server.answer(event.request_id, relayed, taker.now)
    (answer,) = taker.drain()
    return Message.parse(answer.data)


def test_a_port_that_one_worker_reserved_is_had_at_another() -> None:
    first, second = workers(2)
    client, token = reserve(first, 1)
    (relayed,) = (each.relayed for each in first.server.allocations)
    event = redeem(second, token, 2, "alice")
    assert (event.owner, event.token) == (0, token.value)
    response = fulfil(first, second, event)
    assert response.get(XorRelayedAddress) == XorRelayedAddress(
        relayed._replace(port=relayed.port + 1)
    )
    # Nobody has it twice, nor does its time end it.
    assert code(fulfil(first, second, redeem(second, token, 3, "alice"))) == 508
    first.wait(60)
    second.wait(60)
    assert [len(world.server.allocations) for world in (first, second)] == [1, 1]
    assert client.world is first


def test_a_reserved_port_counts_once_wherever_it_is() -> None:
    first, second = workers(2, replace(SETTINGS, allocations_per_user=2))
    _, token = reserve(first, 1)
    event = redeem(second, token, 2, "alice")
    # The quota is used up, but by this very port among others.
    assert not event.may_count
    assert code(fulfil(first, second, event)) is None
    assert [allocate(world, 3) for world in (first, second)] == [486, 486]


def test_the_reserved_port_of_another_user_is_had_within_ones_own_quota() -> None:
    first, second = workers(2, replace(SETTINGS, allocations_per_user=2))
    _, token = reserve(first, 1)
    for port in (1, 2):
        assert allocate(second, port, "bob") is None
    assert code(fulfil(first, second, redeem(second, token, 3, "bob"))) == 508
    second.server.disconnected(second.client(port=2).path, second.now)
    second.drain()
    assert code(fulfil(first, second, redeem(second, token, 4, "bob"))) is None
    # It burdens alice no more.
    assert allocate(first, 5) is None


def test_a_worker_that_does_not_answer_leaves_nothing_open() -> None:
    first, second = workers(2)
    _, token = reserve(first, 1)
    event = redeem(second, token, 2, "alice")
    (answer,) = second.wait(PENDING_LIFETIME)
    assert code(Message.parse(answer.data)) == 500
    relayed = first.server.give_reservation(
        token.value, Account("alice", REALM), first.now, may_count=True
    )
    assert relayed is not None
    second.sockets.add(relayed)
    second.server.answer(event.request_id, relayed, second.now)
    second.drain()
    assert relayed not in second.sockets
    assert len(second.server.allocations) == 0


def test_a_client_that_repeats_its_request_meanwhile_is_answered_once() -> None:
    first, second = workers(2)
    _, token = reserve(first, 1)
    client = second.client(port=2)
    data = client.form(Method.ALLOCATE, UDP, token)
    assert client.send(data) == client.send(data) == []
    (event,) = second.take_events(TakeReservation)
    assert code(client.request(Method.ALLOCATE, UDP)) == 437
    assert code(fulfil(first, second, event)) is None
