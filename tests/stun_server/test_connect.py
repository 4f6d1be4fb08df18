"""TCP allocations and Connect (RFC 6062 §5.1, §5.2)."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.machine import Failure, Path, Transport
from natkit.stun.attributes import (
    AdditionalAddressFamily,
    Attribute,
    ChannelNumber,
    Data,
    DontFragment,
    EvenPort,
    Lifetime,
    MobilityTicket,
    RequestedAddressFamily,
    ReservationToken,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.connect import CONNECT_TIMEOUT
from stun_server.connection_events import (
    ClosePeer,
    ConnectPeer,
    ListenForPeers,
    PeerConnected,
    PeerConnectionClosed,
    StopListening,
)
from stun_server.events import AllocationClosed, AllocationOpened, PeerRefused, RequestRefused
from stun_server.peer_connections import BIND_TIMEOUT
from tests.stun_server.connections import (
    TCP,
    allocate_tcp,
    attempt,
    begin_connect,
    bind,
    connect,
    connection_id,
    tcp_client,
)
from tests.stun_server.world import LISTENER, OTHER_PEER, PEER, PEER6, SETTINGS, World, code

LIMITED = replace(
    SETTINGS,
    peer_connections=7,
    peer_connections_per_user=5,
    peer_connections_per_allocation=4,
    unbound_connections_per_allocation=2,
)


def peer(number: int) -> Address:
    return Address("8.8.8.8", 1000 + number)


# §5.1


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_tcp_allocation_listens_at_its_relayed_address_until_it_ends(
    transport: Transport,
) -> None:
    world = World()
    client = tcp_client(world, transport=transport)
    relayed = allocate_tcp(client)
    assert [type(each) for each in world.opened] == [ListenForPeers]
    (opened,) = world.take_events(AllocationOpened)
    assert (opened.relayed, opened.peers) == (relayed, Transport.TCP)
    assert world.sockets == {relayed}
    world.wait(601)
    assert world.sockets == set()
    assert world.take_events(StopListening) == [StopListening(relayed)]


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.DTLS])
def test_a_client_without_a_connection_gets_400(transport: Transport) -> None:
    client = tcp_client(World(), transport=transport)
    assert code(client.request(Method.ALLOCATE, TCP)) == 400


@pytest.mark.parametrize(
    "attribute",
    [EvenPort(), EvenPort(reserve_next=True), DontFragment(), ReservationToken(bytes(8))],
)
def test_what_udp_alone_has_gets_400(attribute: Attribute) -> None:
    client = tcp_client(World(replace(SETTINGS, dont_fragment=True)))
    assert code(client.request(Method.ALLOCATE, TCP, attribute)) == 400


def test_a_tcp_allocation_does_not_move() -> None:
    client = tcp_client(World())
    assert code(client.request(Method.ALLOCATE, TCP, MobilityTicket(b""))) == 405


def test_where_tcp_relaying_is_off_it_gets_442_and_nothing_is_connected() -> None:
    world = World(replace(SETTINGS, tcp_relaying=False))
    client = tcp_client(world)
    assert code(client.request(Method.ALLOCATE, TCP)) == 442
    client.allocate()
    assert code(client.request(Method.CONNECT, XorPeerAddress(PEER))) == 400
    assert world.take_events(ConnectPeer) == []


def test_a_port_that_others_hold_is_left_for_another() -> None:
    world = World()
    world.refuse_sockets = Failure("in use", address_in_use=True)
    world.hold_sockets = True
    client = tcp_client(world)
    assert client.send(client.form(Method.ALLOCATE, TCP)) == []
    world.answer_socket(world.opened[0])
    assert world.drain() == []
    world.refuse_sockets = None
    world.answer_socket(world.opened[1])
    (answer,) = world.drain()
    assert code(Message.parse(answer.data)) is None
    assert world.opened[0].local != world.opened[1].local


def test_a_listener_that_comes_too_late_is_closed() -> None:
    world = World()
    world.hold_sockets = True
    client = tcp_client(world)
    client.send(client.form(Method.ALLOCATE, TCP))
    (late,) = world.opened
    world.server.disconnected(client.path, world.now)
    world.answer_socket(late)
    world.drain()
    assert world.sockets == set()


def test_channels_and_indications_are_not_for_tcp_allocations() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    client.permit(PEER)
    refused = client.request(Method.CHANNEL_BIND, ChannelNumber(0x4000), XorPeerAddress(PEER))
    assert code(refused) == 400
    indication = Message.indication(
        Method.SEND, client.transaction_id(), XorPeerAddress(PEER), Data(b"x")
    )
    assert client.send(indication.encode()) == []
    assert world.from_peer(b"x", PEER, relayed) == []


def test_a_udp_allocation_connects_to_nobody() -> None:
    world = World()
    client = tcp_client(world)
    client.allocate()
    assert code(client.request(Method.CONNECT, XorPeerAddress(PEER))) == 400


# §5.2


def test_connect_is_answered_once_the_peer_is_there() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    request = begin_connect(client)
    assert (request.local, request.peer) == (relayed, PEER)
    (answer,) = world.answer_connect(request)
    number = connection_id(Message.parse(answer.data))
    assert answer.path == client.path
    assert world.take_events(PeerConnected) == [PeerConnected(1, number, PEER, attempted=False)]


def test_connect_needs_an_allocation() -> None:
    assert code(tcp_client(World()).request(Method.CONNECT, XorPeerAddress(PEER))) == 437


def test_connect_by_another_user_is_refused() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    other = tcp_client(world, username="bob")
    assert code(other.request(Method.CONNECT, XorPeerAddress(PEER))) == 441


def test_connect_needs_a_peer() -> None:
    client = tcp_client(World())
    allocate_tcp(client)
    assert code(client.request(Method.CONNECT)) == 400


def test_a_peer_of_the_other_family_gets_443() -> None:
    client = tcp_client(World())
    allocate_tcp(client)
    assert code(client.request(Method.CONNECT, XorPeerAddress(PEER6))) == 443


def test_a_second_connection_to_a_peer_gets_446_at_every_stage() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    request = begin_connect(client)
    again = XorPeerAddress(PEER)
    assert code(client.request(Method.CONNECT, again)) == 446
    (answer,) = world.answer_connect(request)
    assert code(client.request(Method.CONNECT, again)) == 446
    bind(tcp_client(world, port=40001), connection_id(Message.parse(answer.data)))
    assert code(client.request(Method.CONNECT, again)) == 446
    connect(client, OTHER_PEER)
    # Once it is over, the peer can be had again.
    world.server.disconnected(Path(Transport.TCP, request.local, PEER), world.now)
    connect(client)


def test_a_peer_that_cannot_be_reached_gets_447() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    (answer,) = world.answer_connect(begin_connect(client), Failure("connection refused"))
    assert code(Message.parse(answer.data)) == 447
    assert world.take_events(RequestRefused)[-1].reason == "connection refused"
    assert len(world.server.allocations.connections) == 0
    connect(client)


def test_a_peer_that_does_not_answer_gets_447_after_30_seconds() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    request = begin_connect(client)
    path = Path(Transport.TCP, request.local, PEER)
    assert world.wait(CONNECT_TIMEOUT - 0.1) == []
    (answer,) = world.wait(0.2)
    assert CONNECT_TIMEOUT >= 30
    assert code(Message.parse(answer.data)) == 447
    assert world.take_events(ClosePeer) == [ClosePeer(path)]
    # What the shell has to say about it afterwards changes nothing.
    assert world.answer_connect(request) == []
    assert world.take_events(ClosePeer) == [ClosePeer(path)]


def test_requests_are_answered_while_a_peer_is_being_connected() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    request = begin_connect(client)
    assert code(client.request(Method.REFRESH)) is None
    (answer,) = world.answer_connect(request)
    assert code(Message.parse(answer.data)) is None


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "255.255.255.255", "224.0.0.1"],
)
def test_refused_peers_are_never_connected(host: str) -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    assert code(client.request(Method.CONNECT, XorPeerAddress(Address(host, 22)))) == 403
    assert world.take_events(ConnectPeer) == []
    assert [event.peer.host for event in world.take_events(PeerRefused)] == [host]


@pytest.mark.parametrize("host", ["::1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "fe80::1", "::"])
def test_no_spelling_gets_past_the_policy(host: str) -> None:
    world = World()
    client = tcp_client(world)
    response = client.request(Method.ALLOCATE, TCP, RequestedAddressFamily(2))
    assert code(response) is None
    peer_address = Address(host, 22)
    assert code(client.request(Method.CONNECT, XorPeerAddress(peer_address))) == 403
    assert world.take_events(ConnectPeer) == []


def test_a_permission_does_not_open_a_refused_peer_to_connect() -> None:
    """Permissions for our own relayed addresses hold for a host; Connect is judged by the port."""
    world = World()
    first, second = tcp_client(world), tcp_client(world, port=40001, username="bob")
    allocate_tcp(first)
    other = allocate_tcp(second)
    assert code(first.permit(other)) is None
    elsewhere = other._replace(port=22)
    assert code(first.request(Method.CONNECT, XorPeerAddress(elsewhere))) == 403


def test_neither_the_server_itself_nor_the_own_relayed_address_is_a_peer() -> None:
    world = World(replace(SETTINGS, allowed_peers=(ip_network("198.51.100.0/24"),)))
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    for itself in (LISTENER, relayed):
        assert code(client.request(Method.CONNECT, XorPeerAddress(itself))) == 403


def test_two_clients_reach_each_other_at_their_relayed_addresses() -> None:
    world = World()
    first, second = tcp_client(world), tcp_client(world, port=40001, username="bob")
    source, target = allocate_tcp(first), allocate_tcp(second)
    assert code(second.permit(source)) is None
    request = begin_connect(first, target)
    (indication,) = attempt(world, target, source)
    assert indication.path == second.path
    (answer,) = world.answer_connect(request)
    assert code(Message.parse(answer.data)) is None


def test_a_relayed_udp_address_is_no_tcp_peer_and_the_other_way_round() -> None:
    world = World()
    tcp, udp = tcp_client(world), world.client()
    tcp_relayed, udp_relayed = allocate_tcp(tcp), udp.allocate()
    assert code(tcp.request(Method.CONNECT, XorPeerAddress(udp_relayed))) == 403
    assert code(tcp.permit(udp_relayed)) == 403
    assert code(udp.permit(tcp_relayed)) == 403
    channel = udp.request(Method.CHANNEL_BIND, ChannelNumber(0x4000), XorPeerAddress(tcp_relayed))
    assert code(channel) == 403


# The end.


def test_a_connection_that_nobody_binds_is_closed_after_30_seconds() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    number = connect(client)
    world.wait(BIND_TIMEOUT - 0.1)
    assert world.take_events(ClosePeer) == []
    world.wait(0.2)
    assert world.take_events(ClosePeer) == [ClosePeer(Path(Transport.TCP, relayed, PEER))]
    assert world.take_events(PeerConnectionClosed) == [
        PeerConnectionClosed(1, number, PEER, bound=False)
    ]
    assert code(bind(tcp_client(world, port=40001), number)) == 400
    connect(client)


@pytest.mark.parametrize("how", ["deleted", "expired", "disconnected"])
def test_the_end_of_the_allocation_ends_its_connections(how: str) -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    numbers = [connect(client, peer(each)) for each in range(2)]
    bind(tcp_client(world, port=40001), numbers[0])
    begin_connect(client, peer(2))
    world.events.clear()
    if how == "expired":
        client.request(Method.REFRESH)
        world.wait(600.5)
    elif how == "deleted":
        world.server.end(1, world.now)
    else:
        world.server.disconnected(client.path, world.now)
    world.drain()
    assert len(world.server.allocations.connections) == 0
    closed = {event.peer.remote for event in world.take_events(ClosePeer)}
    assert closed == {peer(each) for each in range(3)}
    assert len(world.take_events(AllocationClosed)) == 1
    assert world.take_events(StopListening) == [StopListening(relayed)]
    assert not world.server.allocations.connections.count(1)


def test_a_connect_whose_allocation_ended_is_answered_and_leaves_nothing() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    request = begin_connect(client)
    world.server.end(1, world.now)
    world.drain()
    (answer,) = world.answer_connect(request, Failure("given up"))
    assert code(Message.parse(answer.data)) == 437
    assert world.server.next_deadline() is None


def test_a_policy_that_refuses_a_peer_from_now_on_ends_its_connections() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    connect(client, PEER)
    world.server.configure(replace(SETTINGS, allowed_peers=(ip_network("10.0.0.0/8"),)), world.now)
    connect(client, Address("10.0.0.1", 80))
    world.drain()
    assert world.take_events(ClosePeer) == []
    world.server.configure(SETTINGS, world.now)
    world.drain()
    closed = Path(Transport.TCP, relayed, Address("10.0.0.1", 80))
    assert world.take_events(ClosePeer) == [ClosePeer(closed)]


def test_a_dual_allocation_connects_to_peers_of_both_families() -> None:
    world = World()
    client = tcp_client(world)
    response = client.request(Method.ALLOCATE, TCP, AdditionalAddressFamily(2))
    relayed, relayed6 = (each.address for each in response.get_all(XorRelayedAddress))
    assert begin_connect(client, PEER).local == relayed
    request = begin_connect(client, PEER6)
    assert request.local == relayed6
    world.answer_connect(request)
    # The end of one address is the end of its connections alone.
    client.request(Method.REFRESH, Lifetime(0), RequestedAddressFamily(1))
    assert world.take_events(ClosePeer) == [ClosePeer(Path(Transport.TCP, relayed, PEER))]
    assert world.take_events(StopListening) == [StopListening(relayed)]
    assert world.sockets == {relayed6}
    world.server.disconnected(client.path, world.now)
    world.drain()
    assert world.take_events(ClosePeer) == [ClosePeer(Path(Transport.TCP, relayed6, PEER6))]
    assert world.sockets == set()


# Bounds.


def test_what_waits_to_be_bound_is_bounded_per_allocation() -> None:
    world = World(LIMITED)
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    client.permit(PEER)
    connect(client, peer(0))
    begin_connect(client, peer(1))
    assert code(client.request(Method.CONNECT, XorPeerAddress(peer(2)))) == 508
    world.events.clear()
    assert attempt(world, relayed, peer(2)) == []
    assert world.take_events(ClosePeer) == [ClosePeer(Path(Transport.TCP, relayed, peer(2)))]


def test_connections_are_bounded_per_allocation_per_user_and_in_all() -> None:
    world = World(LIMITED)
    data_port = 50000

    def fill(port: int, username: str, count: int) -> int | None:
        """Connect and bind ``count`` times from a new allocation; the code of one more."""
        nonlocal data_port
        client = tcp_client(world, port=port, username=username)
        allocate_tcp(client)
        for number in range(count):
            data_port += 1
            data = tcp_client(world, port=data_port, username=username)
            assert code(bind(data, connect(client, peer(number)))) is None
        return code(client.request(Method.CONNECT, XorPeerAddress(peer(count))))

    assert fill(1, "alice", 4) == 508
    assert fill(2, "alice", 1) == 486
    assert fill(3, "bob", 2) == 508
    assert len(world.server.allocations.connections) == 7
    # All that was counted is given back.
    for number in (1, 2, 3):
        world.server.end(number, world.now)
    world.drain()
    assert len(world.server.allocations.connections) == 0
    assert fill(4, "alice", 4) == 508
