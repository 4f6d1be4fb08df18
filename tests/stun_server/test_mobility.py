"""Mobility, by RFC 8016 §3."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import CloseSocket, Failure, Path, Transport
from natkit.stun.attributes import (
    ChannelNumber,
    Data,
    Lifetime,
    MobilityTicket,
    RequestedAddressFamily,
    RequestedTransport,
    XorMappedAddress,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from stun_server.authentication import Account
from stun_server.events import (
    AllocationClosed,
    AllocationDetached,
    AllocationGivenAway,
    AllocationMoved,
    AllocationOpened,
    ChannelBound,
    ClientExpected,
    ClientUnexpected,
    CloseReason,
    PermissionInstalled,
    RequestRefused,
    TakeAllocation,
)
from stun_server.handover import Snapshot
from stun_server.mobility import DETACHED_LIFETIME
from stun_server.tickets import TICKET_LENGTH, Tickets
from tests.stun_server.world import PEER, REALM, SETTINGS, Client, World, code

ASK = MobilityTicket(b"")
UDP = RequestedTransport(17)
CHANNEL = 0x4000
ALICE = Account("alice", REALM)


def ticket_of(response: Message) -> bytes:
    ticket = response.get(MobilityTicket)
    assert ticket is not None, response
    return ticket.value


def mobile_client(world: World, transport: Transport = Transport.UDP) -> tuple[Client, bytes]:
    """A client with an allocation, a channel to the peer, and a ticket."""
    client = world.client(transport=transport)
    ticket = ticket_of(client.request(Method.ALLOCATE, UDP, ASK))
    bound = client.request(Method.CHANNEL_BIND, ChannelNumber(CHANNEL), XorPeerAddress(PEER))
    assert code(bound) is None
    return client, ticket


def relayed_of(world: World) -> Address:
    (allocation,) = world.server.allocations
    return allocation.relayed


def moved(client: Client, port: int = 41000, transport: Transport | None = None) -> Client:
    """The same user at another address."""
    return client.world.client(
        "203.0.113.9", port, transport=transport or client.transport, username=client.username
    )


def present(
    client: Client, ticket: bytes, *attributes: Lifetime | RequestedAddressFamily
) -> Message:
    return client.request(Method.REFRESH, MobilityTicket(ticket), *attributes)


def where_data_goes(world: World) -> Path:
    (sent,) = world.from_peer(b"from the peer", PEER, relayed_of(world))
    return sent.path


# ── tickets ─────────────────────────────────────────────────────────────────────────────────────


def test_who_asks_for_a_ticket_gets_one_and_who_does_not_gets_none() -> None:
    world = World()
    asked = world.client().request(Method.ALLOCATE, UDP, ASK)
    assert len(ticket_of(asked)) == TICKET_LENGTH
    other = world.client(port=40001).request(Method.ALLOCATE, UDP)
    assert code(other) is None
    assert other.get(MobilityTicket) is None


def test_an_allocate_with_a_ticket_in_it_is_a_bad_request() -> None:
    world = World()
    _, ticket = mobile_client(world)
    other = world.client(port=40001).request(Method.ALLOCATE, UDP, MobilityTicket(ticket))
    assert code(other) == 400


def test_where_mobility_is_off_asking_is_forbidden_and_allocating_is_not() -> None:
    world = World(replace(SETTINGS, mobility=False))
    client = world.client()
    assert code(client.request(Method.ALLOCATE, UDP, ASK)) == 405
    client.allocate()
    (refused,) = world.take_events(RequestRefused)
    assert refused.reason == "policy.mobility is off"


def test_where_mobility_is_off_a_ticket_is_forbidden() -> None:
    _, ticket = mobile_client(World())
    world = World(replace(SETTINGS, mobility=False))
    assert code(present(world.client(), ticket)) == 405


def test_a_ticket_says_nothing_to_who_lacks_the_key() -> None:
    world = World()
    tickets = Tickets(SETTINGS.nonce_key, 7, world.random.randbytes)
    one = tickets.make(1)
    assert tickets.make(1, instead_of=one) != one
    assert all(0x21 <= byte <= 0x7E for byte in one)
    assert tickets.read(one) == (7, 1)
    assert Tickets(bytes(32), 7, world.random.randbytes).read(one) is None
    for place in range(len(one)):
        changed = bytearray(one)
        changed[place] ^= 2
        assert tickets.read(bytes(changed)) is None
    for length in range(len(one)):
        assert tickets.read(one[:length]) is None
    assert tickets.read(one + b"\0") is None


def test_the_next_ticket_is_another_one_whatever_chance_says() -> None:
    draws = iter([b"aa", b"aa", b"ab"])
    tickets = Tickets(SETTINGS.nonce_key, 0, lambda _: next(draws))
    first = tickets.make(1)
    assert tickets.make(1, instead_of=first) != first


@pytest.mark.parametrize(
    "ticket", [b"", b"x", bytes(TICKET_LENGTH), b"A" * TICKET_LENGTH, b"A" * 1000]
)
def test_what_is_no_ticket_of_ours_is_a_bad_request(ticket: bytes) -> None:
    world = World()
    client, _ = mobile_client(world)
    assert code(present(moved(client), ticket)) == 400
    assert where_data_goes(world) == client.path


# ── make before break ───────────────────────────────────────────────────────────────────────────


def test_a_refresh_from_elsewhere_succeeds_with_another_ticket() -> None:
    world = World()
    client, ticket = mobile_client(world)
    answer = present(moved(client), ticket, Lifetime(700))
    assert answer.get(Lifetime) == Lifetime(700)
    assert ticket_of(answer) != ticket
    (expected,) = world.take_events(ClientExpected)
    assert expected == ClientExpected(1, moved(client).path)
    assert len(world.server.allocations) == 1


def test_until_the_client_uses_the_new_path_the_old_one_carries_everything() -> None:
    world = World()
    client, ticket = mobile_client(world)
    present(moved(client), ticket)
    assert where_data_goes(world) == client.path
    (sent,) = client.send(ChannelData(CHANNEL, b"still here").encode(padded=False))
    assert (sent.data, sent.path.remote) == (b"still here", PEER)
    assert code(client.permit(PEER)) is None
    assert world.take_events(AllocationMoved) == []


@pytest.mark.parametrize("how", ["channel", "send"])
def test_data_on_the_new_path_moves_the_allocation_and_is_relayed(how: str) -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    present(there, ticket)
    data = ChannelData(CHANNEL, b"hello").encode(padded=False)
    if how == "send":
        indication = Message.indication(
            Method.SEND, there.transaction_id(), XorPeerAddress(PEER), Data(b"hello")
        )
        data = indication.encode()
    (sent,) = there.send(data)
    assert (sent.data, sent.path.remote) == (b"hello", PEER)
    assert world.take_events(AllocationMoved) == [AllocationMoved(1, client.path, there.path)]
    assert where_data_goes(world) == there.path
    assert client.send(ChannelData(CHANNEL, b"too late").encode(padded=False)) == []
    assert code(client.request(Method.REFRESH)) == 437
    assert code(there.request(Method.REFRESH)) is None


def test_a_client_that_only_listens_confirms_by_a_refresh() -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    present(there, ticket)
    assert code(there.request(Method.REFRESH)) is None
    assert where_data_goes(world) == there.path


def test_permissions_and_channels_move_along() -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    present(there, ticket)
    there.send(ChannelData(CHANNEL, b"x").encode(padded=False))
    (sent,) = world.from_peer(b"back", PEER, relayed_of(world))
    assert sent.path == there.path
    assert ChannelData.parse(sent.data) == ChannelData(CHANNEL, b"back")


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS, Transport.DTLS])
def test_a_client_moves_from_udp_to_any_transport_and_back(transport: Transport) -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client, transport=transport)
    ticket = ticket_of(present(there, ticket))
    there.send(ChannelData(CHANNEL, b"x").encode(padded=there.transport.is_reliable))
    assert where_data_goes(world) == there.path
    home = moved(client, port=42000)
    present(home, ticket)
    home.send(ChannelData(CHANNEL, b"x").encode(padded=False))
    assert where_data_goes(world) == home.path


def test_a_client_moves_a_hundred_times_and_leaves_nothing_behind() -> None:
    world = World()
    client, ticket = mobile_client(world)
    for port in range(41000, 41100):
        there = moved(client, port)
        ticket = ticket_of(present(there, ticket))
        there.send(ChannelData(CHANNEL, b"x").encode(padded=False))
    assert where_data_goes(world) == there.path
    assert len(world.take_events(AllocationMoved)) == 100
    allocations = world.server.allocations
    assert [allocations.of_client(moved(client, port).path) for port in range(41000, 41099)] == [
        None
    ] * 99
    assert code(there.request(Method.REFRESH, Lifetime(0))) is None
    assert len(allocations) == 0
    assert allocations.next_deadline() is None


# ── answers that get lost, and replays ──────────────────────────────────────────────────────────


def test_a_retransmitted_refresh_is_answered_identically() -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    data = there.form(Method.REFRESH, MobilityTicket(ticket))
    assert there.send(data) == there.send(data)
    assert len(world.take_events(ClientExpected)) == 1


def test_when_the_answer_was_lost_the_old_ticket_still_serves_from_there_and_from_elsewhere() -> (
    None
):
    world = World()
    client, ticket = mobile_client(world)
    first, second = moved(client), moved(client, 42000)
    present(first, ticket)
    assert code(present(first, ticket)) is None
    newest = present(second, ticket)
    assert code(newest) is None
    assert world.take_events(ClientUnexpected) == [ClientUnexpected(1, first.path)]
    assert first.send(ChannelData(CHANNEL, b"not mine").encode(padded=False)) == []
    second.send(ChannelData(CHANNEL, b"x").encode(padded=False))
    assert where_data_goes(world) == second.path


def test_a_superseded_ticket_is_of_the_past() -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    present(there, ticket)
    there.send(ChannelData(CHANNEL, b"x").encode(padded=False))
    assert code(present(moved(client, 42000), ticket)) == 437
    assert where_data_goes(world) == there.path


def test_a_recorded_refresh_does_nothing_from_another_address() -> None:
    world = World()
    client, ticket = mobile_client(world)
    recorded = moved(client).form(Method.REFRESH, MobilityTicket(ticket))
    thief = moved(client, 42000)
    assert code(thief.exchange(recorded)) == 438
    assert where_data_goes(world) == client.path
    assert world.take_events(ClientExpected) == []


def test_a_ticket_of_a_closed_allocation_is_of_the_past() -> None:
    world = World()
    client, ticket = mobile_client(world)
    client.request(Method.REFRESH, Lifetime(0))
    assert code(present(moved(client), ticket)) == 437


def test_a_ticket_is_its_users_alone() -> None:
    world = World()
    client, ticket = mobile_client(world)
    thief = world.client("203.0.113.9", 41000, username="bob")
    assert code(present(thief, ticket)) == 441
    wrong = moved(client)
    wrong.password = "guess"
    assert code(present(wrong, ticket)) == 401
    assert where_data_goes(world) == client.path


def test_a_ticket_from_the_same_address_is_a_bad_request() -> None:
    world = World()
    client, ticket = mobile_client(world)
    assert code(present(client, ticket)) == 400


def test_a_deletion_with_a_ticket_is_a_bad_request() -> None:
    world = World()
    client, ticket = mobile_client(world)
    assert code(present(moved(client), ticket, Lifetime(0))) == 400
    assert len(world.server.allocations) == 1


def test_where_another_allocation_is_none_moves() -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    there.allocate()
    assert code(present(there, ticket)) == 437


def test_a_refresh_that_fails_does_not_move() -> None:
    world = World()
    client, ticket = mobile_client(world)
    assert code(present(moved(client), ticket, RequestedAddressFamily(2))) == 443
    assert world.take_events(ClientExpected) == []
    assert code(present(moved(client), ticket)) is None


def test_an_allocation_outlives_its_credential_when_it_moves() -> None:
    world = World()
    expires = world.now + 1_700_000_000.0 + 100
    known = replace(world.users["alice"], expires=expires)
    world.users["alice"] = known
    client, ticket = mobile_client(world)
    world.wait(150)
    assert code(present(moved(client), ticket)) is None
    assert code(moved(client, 43000).request(Method.ALLOCATE, UDP)) == 401


def test_the_address_that_a_client_leaves_is_free_for_another_user() -> None:
    world = World()
    client, ticket = mobile_client(world)
    there = moved(client)
    present(there, ticket)
    there.send(ChannelData(CHANNEL, b"x").encode(padded=False))
    other = world.client(username="bob")
    assert other.path == client.path
    response = other.request(Method.ALLOCATE, UDP)
    assert response.get(XorMappedAddress) == XorMappedAddress(other.address)


# ── connections that end ────────────────────────────────────────────────────────────────────────


def end(world: World, client: Client) -> None:
    world.server.disconnected(client.path, world.now)
    world.drain()


def test_the_end_of_the_old_connection_confirms_the_new_one() -> None:
    world = World()
    client, ticket = mobile_client(world, Transport.TCP)
    there = moved(client)
    present(there, ticket)
    end(world, client)
    assert world.take_events(AllocationMoved) == [AllocationMoved(1, client.path, there.path)]
    assert where_data_goes(world) == there.path


def test_the_end_of_the_new_connection_leaves_all_with_the_old_one() -> None:
    world = World()
    client, ticket = mobile_client(world, Transport.TCP)
    there = moved(client)
    ticket = ticket_of(present(there, ticket))
    end(world, there)
    assert world.take_events(ClientUnexpected) == [ClientUnexpected(1, there.path)]
    assert where_data_goes(world) == client.path
    assert code(present(moved(client, 42000), ticket)) is None


def test_a_broken_connection_leaves_a_mobile_allocation_waiting() -> None:
    world = World()
    client, ticket = mobile_client(world, Transport.TCP)
    end(world, client)
    assert world.take_events(AllocationDetached) == [AllocationDetached(1, client.path)]
    assert code(client.request(Method.REFRESH)) == 437
    world.wait(DETACHED_LIFETIME - 1)
    there = moved(client)
    assert code(present(there, ticket)) is None
    assert world.take_events(AllocationMoved) == [AllocationMoved(1, client.path, there.path)]
    assert where_data_goes(world) == there.path
    world.wait(599)
    assert len(world.server.allocations) == 1


def test_the_very_same_address_serves_after_a_broken_connection() -> None:
    world = World()
    client, ticket = mobile_client(world, Transport.TCP)
    end(world, client)
    assert code(present(client, ticket)) is None
    assert where_data_goes(world) == client.path


def test_nobody_inherits_what_waits_at_an_address() -> None:
    world = World()
    client, _ = mobile_client(world, Transport.TCP)
    end(world, client)
    assert client.send(ChannelData(CHANNEL, b"whose?").encode(padded=True)) == []
    other = world.client(transport=Transport.TCP, username="bob")
    other.allocate()
    world.wait(DETACHED_LIFETIME)
    (closed,) = world.take_events(AllocationClosed)
    assert (closed.allocation_id, closed.reason) == (1, CloseReason.EXPIRED)
    assert code(other.request(Method.REFRESH)) is None


def test_a_broken_connection_ends_an_allocation_that_cannot_move() -> None:
    world = World()
    client = world.client(transport=Transport.TCP)
    client.allocate()
    end(world, client)
    (closed,) = world.take_events(AllocationClosed)
    assert closed.reason is CloseReason.DISCONNECTED


# ── other workers ───────────────────────────────────────────────────────────────────────────────


def test_an_allocation_goes_to_the_worker_where_its_client_turns_up() -> None:
    owner, taker = World(replace(SETTINGS, worker=3)), World(replace(SETTINGS, worker=5))
    client, ticket = mobile_client(owner)
    relayed = relayed_of(owner)
    there = taker.client("203.0.113.9", 41000)
    data = there.form(Method.REFRESH, MobilityTicket(ticket), Lifetime(900))
    assert there.send(data) == []
    assert there.send(data) == []
    (asked,) = taker.take_events(TakeAllocation)
    assert (asked.owner, asked.ticket) == (3, ticket)
    snapshot = owner.server.give_away(asked.ticket, Account(asked.username, asked.realm), owner.now)
    assert snapshot is not None
    owner.drain()
    given = AllocationGivenAway(1, client.path, (relayed,))
    assert owner.take_events(AllocationGivenAway) == [given]
    assert owner.take_events(CloseSocket) == []
    assert len(owner.server.allocations) == 0
    owner.sockets.discard(relayed)
    taker.sockets.add(relayed)
    carried = Snapshot.from_json(snapshot.to_json())
    assert carried == snapshot
    taker.server.answer(asked.request_id, carried, taker.now)
    (answer,) = taker.drain()
    response = Message.parse(answer.data)
    assert response.get(Lifetime) == Lifetime(900)
    assert [event.relayed for event in taker.take_events(AllocationOpened)] == [relayed]
    assert [event.channel for event in taker.take_events(ChannelBound)] == [CHANNEL]
    assert [event.peer_host for event in taker.take_events(PermissionInstalled)] == [PEER.host]
    (sent,) = there.send(ChannelData(CHANNEL, b"hello").encode(padded=False))
    assert (sent.data, sent.path.local) == (b"hello", relayed)
    assert where_data_goes(taker) == there.path
    home = taker.client()
    assert code(present(home, ticket_of(response))) is None


def test_nobody_but_its_user_gets_an_allocation_from_another_worker() -> None:
    owner = World(replace(SETTINGS, worker=3))
    _, ticket = mobile_client(owner)
    assert owner.server.give_away(ticket, Account("bob", REALM), owner.now) is None
    assert owner.server.give_away(b"x" * TICKET_LENGTH, ALICE, owner.now) is None
    assert len(owner.server.allocations) == 1


@pytest.mark.parametrize("late", [False, True])
def test_an_allocation_that_another_worker_does_not_give_is_a_mismatch(late: bool) -> None:
    owner, taker = World(replace(SETTINGS, worker=3)), World()
    _, ticket = mobile_client(owner)
    there = taker.client("203.0.113.9", 41000)
    there.send(there.form(Method.REFRESH, MobilityTicket(ticket)))
    (asked,) = taker.take_events(TakeAllocation)
    if late:
        (answer,) = taker.wait(10)
        assert code(Message.parse(answer.data)) == 500
        snapshot = owner.server.give_away(ticket, ALICE, owner.now)
        assert snapshot is not None
        taker.sockets.add(snapshot.relayed)
        taker.server.answer(asked.request_id, snapshot, taker.now)
        assert taker.drain() == []
        assert taker.take_events(CloseSocket) == [CloseSocket(snapshot.relayed)]
    else:
        taker.server.answer(asked.request_id, Failure("it is not there"), taker.now)
        (answer,) = taker.drain()
        assert code(Message.parse(answer.data)) == 437


def given_away(owner: World, ticket: bytes) -> None:
    snapshot = owner.server.give_away(ticket, ALICE, owner.now)
    assert snapshot is not None
    owner.drain()
    assert len(owner.server.allocations) == 0
    for kind in (AllocationGivenAway, AllocationOpened, ChannelBound, PermissionInstalled):
        owner.take_events(kind)


def test_an_allocation_that_did_not_arrive_goes_on_here_with_all_that_it_had() -> None:
    world = World()
    client, ticket = mobile_client(world)
    relayed = relayed_of(world)
    held = world.server.allocations._sharing.holdings.in_all()
    given_away(world, ticket)
    # It is not given twice.
    assert world.server.give_away(ticket, ALICE, world.now) is None
    world.server.given_away(ticket, world.now, taken=False)
    world.drain()
    (opened,) = world.take_events(AllocationOpened)
    assert (opened.client, opened.relayed, opened.username) == (client.path, relayed, "alice")
    assert [event.channel for event in world.take_events(ChannelBound)] == [CHANNEL]
    assert [event.peer_host for event in world.take_events(PermissionInstalled)] == [PEER.host]
    (sent,) = client.send(ChannelData(CHANNEL, b"hello").encode(padded=False))
    assert (sent.data, sent.path.local) == (b"hello", relayed)
    assert world.server.allocations._sharing.holdings.in_all() == held
    # Its ticket is as good as before.
    there = world.client("203.0.113.9", 41000)
    assert code(present(there, ticket)) is None
    assert code(there.request(Method.REFRESH, Lifetime(0))) is None
    assert world.server.allocations._sharing.holdings.in_all() == 0


def test_an_allocation_that_arrived_is_the_other_workers() -> None:
    world = World()
    _, ticket = mobile_client(world)
    given_away(world, ticket)
    world.server.given_away(ticket, world.now, taken=True)
    world.server.given_away(ticket, world.now, taken=False)
    world.drain()
    assert len(world.server.allocations) == 0
    assert world.take_events(AllocationOpened) == []
    assert world.take_events(CloseSocket) == []


def test_a_client_that_has_allocated_anew_meanwhile_keeps_that() -> None:
    world = World()
    client, ticket = mobile_client(world)
    relayed = relayed_of(world)
    given_away(world, ticket)
    assert code(client.request(Method.ALLOCATE, UDP)) is None
    world.server.given_away(ticket, world.now, taken=False)
    world.drain()
    assert world.take_events(CloseSocket) == [CloseSocket(relayed)]
    assert len(world.server.allocations) == 1


def test_one_that_expired_or_lost_its_connection_meanwhile_is_as_if_it_had_been_here() -> None:
    world = World()
    client, ticket = mobile_client(world, Transport.TCP)
    given_away(world, ticket)
    world.server.disconnected(client.path, world.now)
    world.server.given_away(ticket, world.now, taken=False)
    world.drain()
    assert [event.client for event in world.take_events(AllocationDetached)] == [client.path]
    there = world.client("203.0.113.9", 41000)
    ticket = ticket_of(present(there, ticket))
    given_away(world, ticket)
    world.wait(3_600)
    world.server.given_away(ticket, world.now, taken=False)
    world.wait(0)
    assert len(world.server.allocations) == 0
    assert [event.reason for event in world.take_events(AllocationClosed)] == [CloseReason.EXPIRED]
