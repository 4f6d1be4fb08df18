"""Connection attempts and ConnectionBind (RFC 6062 §5.3, §5.4), also between workers."""

from dataclasses import replace
from itertools import pairwise

import pytest

from natkit.machine import Failure, Path, Transport
from natkit.stun.attributes import ConnectionId, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method
from stun_server.authentication import Account
from stun_server.connection_events import (
    ClosePeer,
    ConnectionReturned,
    ConnectionRevoked,
    PeerConnected,
    PeerConnectionClosed,
    PeerConnectionRefused,
    SpliceConnections,
    TakeConnection,
    Taken,
)
from stun_server.peer_connections import BIND_TIMEOUT
from stun_server.tcp_allocations import TAKE_TIMEOUT
from tests.stun_server.connections import (
    TCP,
    allocate_tcp,
    attempt,
    bind,
    connect,
    connection_id,
    tcp_client,
)
from tests.stun_server.world import OTHER_PEER, PEER, SETTINGS, World, code

# §5.3


def test_a_permitted_peer_is_announced_and_others_are_closed_at_once() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    path = Path(Transport.TCP, relayed, PEER)
    assert attempt(world, relayed) == []
    assert world.take_events(ClosePeer) == [ClosePeer(path)]
    assert world.take_events(PeerConnectionRefused) == [
        PeerConnectionRefused(1, PEER, "no permission")
    ]
    client.permit(PEER)
    (transmit,) = attempt(world, relayed)
    indication = Message.parse(transmit.data)
    assert transmit.path == client.path
    assert (indication.method, indication.message_class) == (
        Method.CONNECTION_ATTEMPT,
        MessageClass.INDICATION,
    )
    assert indication.get(XorPeerAddress) == XorPeerAddress(PEER)
    number = connection_id(indication)
    assert world.take_events(PeerConnected) == [PeerConnected(1, number, PEER, attempted=True)]
    assert code(bind(tcp_client(world, port=40001), number)) is None


def test_a_permission_that_expired_announces_nobody() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    client.permit(PEER)
    world.wait(300.5)
    assert attempt(world, relayed) == []
    assert len(world.take_events(PeerConnectionRefused)) == 1


def test_an_attempt_that_nobody_takes_up_ends_after_30_seconds() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    client.permit(PEER)
    attempt(world, relayed)
    world.wait(BIND_TIMEOUT + 0.1)
    assert world.take_events(ClosePeer) == [ClosePeer(Path(Transport.TCP, relayed, PEER))]
    # The peer may try again.
    assert len(attempt(world, relayed)) == 1


def test_an_attempt_at_an_address_that_is_nobodys_is_closed() -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    client.permit(PEER)
    world.server.disconnected(client.path, world.now)
    world.drain()
    world.events.clear()
    assert attempt(world, relayed) == []
    assert world.take_events(ClosePeer) == [ClosePeer(Path(Transport.TCP, relayed, PEER))]


# §5.4


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_connection_that_is_bound_is_spliced_with_its_peer(transport: Transport) -> None:
    world = World()
    client = tcp_client(world, transport=transport)
    relayed = allocate_tcp(client)
    number = connect(client)
    data = tcp_client(world, port=40001, transport=transport)
    assert code(bind(data, number)) is None
    assert world.take_events(SpliceConnections) == [
        SpliceConnections(1, number, data.path, Path(Transport.TCP, relayed, PEER))
    ]
    # It waits for nothing any more.
    world.wait(BIND_TIMEOUT + 1)
    assert world.take_events(ClosePeer) == []
    # And it is bound once.
    assert code(bind(tcp_client(world, port=40002, transport=transport), number)) == 400


@pytest.mark.parametrize("ended", ["client", "peer"])
def test_the_end_of_either_connection_ends_the_other(ended: str) -> None:
    world = World()
    client = tcp_client(world)
    relayed = allocate_tcp(client)
    number = connect(client)
    data = tcp_client(world, port=40001)
    bind(data, number)
    path = Path(Transport.TCP, relayed, PEER)
    world.server.disconnected(data.path if ended == "client" else path, world.now)
    world.drain()
    assert world.take_events(ClosePeer) == [ClosePeer(path)]
    assert world.take_events(PeerConnectionClosed) == [
        PeerConnectionClosed(1, number, PEER, bound=True)
    ]
    # The allocation goes on.
    connect(client)


def test_a_bind_without_an_id_or_with_an_unknown_one_gets_400() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    data = tcp_client(world, port=40001)
    assert code(data.request(Method.CONNECTION_BIND)) == 400
    assert code(bind(data, connect(client) ^ 1)) == 400


def test_a_bind_over_udp_gets_400() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    assert code(bind(world.client(), connect(client))) == 400


def test_a_connection_is_bound_by_its_user_alone_and_the_others_cannot_tell_it_is_there() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    number = connect(client)
    other = tcp_client(world, port=40001, username="bob")
    there, nowhere = bind(other, number), bind(other, number ^ 1)
    assert (code(there), code(nowhere)) == (400, 400)
    assert there.attributes[0] == nowhere.attributes[0]
    assert code(bind(tcp_client(world, port=40002), number)) is None


def test_a_connection_is_bound_over_the_transport_of_its_control_connection() -> None:
    world = World()
    client = tcp_client(world, transport=Transport.TLS)
    allocate_tcp(client)
    number = connect(client)
    assert code(bind(tcp_client(world, port=40001), number)) == 400
    assert code(bind(tcp_client(world, port=40002, transport=Transport.TLS), number)) is None


def test_the_control_connection_is_not_bound() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    number = connect(client)
    assert code(bind(client, number)) == 400
    other = tcp_client(world, port=40001)
    other.allocate()
    assert code(bind(other, number)) == 400


def test_a_bind_without_credentials_is_challenged() -> None:
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    number = connect(client)
    data = tcp_client(world, port=40001)
    request = Message.request(Method.CONNECTION_BIND, data.transaction_id(), ConnectionId(number))
    assert code(data.exchange(request.encode())) == 401
    assert code(bind(data, number)) is None


def test_requests_that_wait_on_a_connection_are_dropped_when_it_is_bound() -> None:
    """Their answers would be taken for the peer's data."""
    world = World()
    client = tcp_client(world)
    allocate_tcp(client)
    number = connect(client)
    data = tcp_client(world, port=40001)
    data.challenge()
    world.hold_lookups = True
    data.send(data.form(Method.ALLOCATE, TCP))
    data.send(data.form(Method.CONNECTION_BIND, ConnectionId(number)))
    allocate, binding = world.lookups[-2:]
    world.answer_lookup(binding)
    (answer,) = world.drain()
    assert code(Message.parse(answer.data)) is None
    world.answer_lookup(allocate)
    assert world.drain() == []
    assert len(world.server.allocations) == 1


def test_ids_are_unpredictable_distinct_and_tell_their_worker() -> None:
    world = World(replace(SETTINGS, worker=7, unbound_connections_per_allocation=100))
    client = tcp_client(world)
    allocate_tcp(client)
    numbers = {connect(client, PEER._replace(port=1 + each)) for each in range(50)}
    assert len(numbers) == 50
    assert {number >> 24 for number in numbers} == {7}
    low = sorted(number & 0xFFFFFF for number in numbers)
    assert all(after - before > 1 for before, after in pairwise(low))


# Between workers.


class Workers:
    """Two machines that share a listener; the test carries what crosses between them."""

    def __init__(self) -> None:
        self.owner = World(replace(SETTINGS, worker=1))
        self.taker = World(replace(SETTINGS, worker=2), seed=2)
        self.client = tcp_client(self.owner)
        self.relayed = allocate_tcp(self.client)
        self.number = connect(self.client)
        self.path = Path(Transport.TCP, self.relayed, PEER)

    def ask(self, username: str = "alice") -> TakeConnection:
        """The ConnectionBind reaches the other worker; what that one wants."""
        data = tcp_client(self.taker, port=40001, username=username)
        assert data.send(data.form(Method.CONNECTION_BIND, ConnectionId(self.number))) == []
        (request,) = self.taker.take_events(TakeConnection)
        assert (request.owner, request.connection_id) == (1, self.number)
        return request

    def hand_over(self, request: TakeConnection) -> int | None:
        """Do it; the code of the client's answer."""
        given = self.owner.server.give_connection(
            request.connection_id,
            Account(request.username, request.realm),
            request.transport,
            self.owner.now,
        )
        result = Failure("gone") if given is None else Taken(1, request.connection_id, given)
        self.taker.server.answer(request.request_id, result, self.taker.now)
        (answer,) = self.taker.drain()
        return code(Message.parse(answer.data))


def test_another_worker_takes_the_connection_over() -> None:
    workers = Workers()
    assert workers.hand_over(workers.ask()) is None
    (splice,) = workers.taker.take_events(SpliceConnections)
    assert (splice.allocation_id, splice.peer) == (None, workers.path)
    # It counts at its owner, waits there no more, and the peer can't be connected twice.
    workers.owner.wait(BIND_TIMEOUT + 1)
    assert workers.owner.take_events(ClosePeer) == []
    assert code(workers.client.request(Method.CONNECT, XorPeerAddress(PEER))) == 446


def test_a_connection_is_given_to_its_user_alone_and_once() -> None:
    workers = Workers()
    assert workers.hand_over(workers.ask("bob")) == 400
    assert workers.hand_over(workers.ask()) is None
    again = workers.owner.server.give_connection(
        workers.number, Account("alice", ""), Transport.TCP, workers.owner.now
    )
    assert again is None


def test_without_the_other_worker_the_client_gets_400() -> None:
    workers = Workers()
    request = workers.ask()
    workers.taker.server.answer(request.request_id, Failure("no such worker"), workers.taker.now)
    (answer,) = workers.taker.drain()
    assert code(Message.parse(answer.data)) == 400


def test_a_connection_that_ends_elsewhere_counts_no_more() -> None:
    workers = Workers()
    workers.hand_over(workers.ask())
    workers.taker.server.disconnected(workers.path, workers.taker.now)
    workers.taker.drain()
    (returned,) = workers.taker.take_events(ConnectionReturned)
    assert returned == ConnectionReturned(1, workers.number)
    assert len(workers.taker.server.allocations.connections) == 0
    workers.owner.server.connection_returned(returned.connection_id, workers.owner.now)
    workers.owner.drain()
    assert len(workers.owner.server.allocations.connections) == 0
    connect(workers.client)


def test_the_end_of_the_allocation_ends_what_another_worker_took() -> None:
    workers = Workers()
    workers.hand_over(workers.ask())
    workers.owner.server.disconnected(workers.client.path, workers.owner.now)
    workers.owner.drain()
    (revoked,) = workers.owner.take_events(ConnectionRevoked)
    workers.taker.server.connection_revoked(revoked.connection_id, workers.taker.now)
    workers.taker.drain()
    assert workers.taker.take_events(ClosePeer) == [ClosePeer(workers.path)]
    assert len(workers.taker.server.allocations.connections) == 0


def test_a_connection_that_crosses_too_late_is_given_back() -> None:
    workers = Workers()
    request = workers.ask()
    (answer,) = workers.taker.wait(TAKE_TIMEOUT + 0.1)
    assert code(Message.parse(answer.data)) == 400
    late = Taken(1, workers.number, workers.path)
    workers.taker.server.answer(request.request_id, late, workers.taker.now)
    assert workers.taker.drain() == []
    assert workers.taker.take_events(ClosePeer) == [ClosePeer(workers.path)]
    assert workers.taker.take_events(ConnectionReturned) == [ConnectionReturned(1, workers.number)]


def test_neither_worker_ends_what_is_not_of_the_other() -> None:
    workers = Workers()
    workers.owner.server.connection_revoked(workers.number, workers.owner.now)
    workers.taker.server.connection_returned(workers.number, workers.taker.now)
    assert code(bind(tcp_client(workers.owner, port=40001), workers.number)) is None


def test_other_peers_are_not_concerned_by_a_handover() -> None:
    workers = Workers()
    workers.hand_over(workers.ask())
    number = connect(workers.client, OTHER_PEER)
    assert code(bind(tcp_client(workers.owner, port=40001), number)) is None
