"""Allocate, by the steps of RFC 8656 §7.2."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import CloseSocket, Failure, Path, Transport
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    DontFragment,
    EvenPort,
    Lifetime,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    UnknownAttribute,
    UnknownAttributes,
    XorMappedAddress,
    XorPeerAddress,
    XorRelayedAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import Method, StunError
from stun_server.allocate import MAX_TRIES
from stun_server.allocations import RESERVATION_LIFETIME
from stun_server.events import AllocationClosed, AllocationOpened, CloseReason, RequestRefused
from stun_server.pending import MAX_PENDING, PENDING_LIFETIME
from stun_server.settings import LAST_WORKER, PortRange
from tests.stun_server.world import LISTENER, LISTENER6, PEER, REALM, SETTINGS, World, code

UDP = RequestedTransport(17)
TCP = RequestedTransport(6)
IPV4 = RequestedAddressFamily(1)
IPV6 = RequestedAddressFamily(2)
IN_USE = Failure("in use", address_in_use=True)


def lifetime(response: Message) -> int:
    attribute = response.get(Lifetime)
    assert attribute is not None
    return attribute.seconds


def token(response: Message) -> ReservationToken:
    attribute = response.get(ReservationToken)
    assert attribute is not None
    return attribute


def relayed(response: Message) -> Address:
    attribute = response.get(XorRelayedAddress)
    assert attribute is not None, response
    return attribute.address


# The success response.


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_the_answer_has_relayed_address_lifetime_and_mapped_address(transport: Transport) -> None:
    world = World()
    client = world.client(transport=transport)
    response = client.request(Method.ALLOCATE, UDP)
    assert relayed(response).host == LISTENER.host
    assert 49152 <= relayed(response).port <= 65535
    assert lifetime(response) == 600
    assert response.get(XorMappedAddress) == XorMappedAddress(client.address)
    assert response.get(ReservationToken) is None
    assert world.take_events(AllocationOpened) == [
        AllocationOpened(1, client.path, relayed(response), "alice", world.now + 600, realm=REALM)
    ]
    assert world.sockets == {relayed(response)}


@pytest.mark.parametrize(
    ("proposed", "granted"),
    [(0, 600), (1, 600), (600, 600), (601, 601), (3600, 3600), (3601, 3600)],
)
def test_the_lifetime_lies_between_default_and_maximum(proposed: int, granted: int) -> None:
    response = World().client().request(Method.ALLOCATE, UDP, Lifetime(proposed))
    assert lifetime(response) == granted


def test_an_allocation_expires_with_its_socket() -> None:
    world = World()
    client = world.client()
    address = client.allocate()
    world.wait(599.9)
    assert world.sockets == {address}
    world.wait(0.2)
    assert world.sockets == set()
    (closed,) = world.take_events(AllocationClosed)
    assert (closed.relayed, closed.reason) == (address, CloseReason.EXPIRED)
    assert code(client.request(Method.REFRESH)) == 437
    client.allocate()


def test_a_late_timer_gives_no_longer_life() -> None:
    world = World()
    client = world.client()
    client.allocate()
    client.permit(PEER)
    world.now += 600.5
    assert code(client.request(Method.REFRESH)) == 437


# Step 2.


def test_a_second_allocation_of_a_5_tuple_is_a_mismatch() -> None:
    world = World()
    client = world.client()
    client.allocate()
    assert code(client.request(Method.ALLOCATE, UDP)) == 437
    assert len(world.sockets) == 1
    world.client(transport=Transport.TCP).allocate()


def test_a_second_allocate_while_the_first_waits_for_its_socket_is_a_mismatch() -> None:
    world = World()
    world.hold_sockets = True
    client = world.client()
    data = client.form(Method.ALLOCATE, UDP)
    assert client.send(data) == []
    assert client.send(data) == []
    assert code(client.request(Method.ALLOCATE, UDP)) == 437
    (request,) = world.opened
    world.answer_socket(request)
    (answer,) = world.drain()
    assert code(Message.parse(answer.data)) is None


# Step 3.


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [((), 400), ((TCP,), 400), ((RequestedTransport(0),), 442), ((UDP, TCP), None)],
)
def test_over_udp_the_transport_must_be_udp(
    attributes: tuple[Attribute, ...], expected: int | None
) -> None:
    assert code(World().client().request(Method.ALLOCATE, *attributes)) == expected


# Step 4, and RFC 8489 §6.3.1.


def test_dont_fragment_is_unknown_where_the_shell_cannot_do_it() -> None:
    response = World().client().request(Method.ALLOCATE, UDP, DontFragment())
    assert code(response) == 420
    assert response.get(UnknownAttributes) == UnknownAttributes((0x001A,))


def test_dont_fragment_is_accepted_where_the_shell_can_do_it() -> None:
    client = World(replace(SETTINGS, dont_fragment=True)).client()
    client.allocate(DontFragment())


def test_unknown_required_attributes_are_listed_and_optional_ones_ignored() -> None:
    client = World().client()
    unknown = (UnknownAttribute(0x7001, b""), UnknownAttribute(0x9001, b"x"))
    response = client.request(Method.ALLOCATE, UDP, *unknown, UnknownAttribute(0x0010, b"1234"))
    assert code(response) == 420
    assert response.get(UnknownAttributes) == UnknownAttributes((0x7001, 0x0010))
    client.allocate(UnknownAttribute(0x9001, b"x"))


# Steps 5 and 6.


@pytest.mark.parametrize("extra", [EvenPort(), EvenPort(reserve_next=True), IPV4, IPV6])
def test_a_token_goes_with_no_wish_for_a_port_or_family(extra: Attribute) -> None:
    client = World().client()
    assert code(client.request(Method.ALLOCATE, UDP, ReservationToken(bytes(8)), extra)) == 400


def test_a_token_that_names_nothing_is_insufficient_capacity() -> None:
    response = World().client().request(Method.ALLOCATE, UDP, ReservationToken(bytes(8)))
    assert code(response) == 508


# Step 7.


@pytest.mark.parametrize(
    ("listener", "family", "host"),
    [
        (LISTENER, None, LISTENER.host),
        (LISTENER, IPV4, LISTENER.host),
        (LISTENER, IPV6, LISTENER6.host),
        (LISTENER6, None, LISTENER.host),
        (LISTENER6, IPV4, LISTENER.host),
        (LISTENER6, IPV6, LISTENER6.host),
    ],
)
def test_the_family_is_ipv4_unless_the_client_asks(
    listener: Address, family: RequestedAddressFamily | None, host: str
) -> None:
    client = World().client("192.0.2.7" if listener is LISTENER else "2001:db8::7")
    assert client.allocate(*([family] if family else [])).host == host


def test_the_relay_address_of_each_family_can_be_set() -> None:
    world = World(replace(SETTINGS, relay_ipv4="198.51.100.77", relay_ipv6="2001:db8:0::77"))
    assert world.client(port=1).allocate(IPV4).host == "198.51.100.77"
    assert world.client(port=2).allocate(IPV6).host == "2001:db8::77"


@pytest.mark.parametrize(
    ("listeners", "attributes"),
    [
        ((LISTENER,), (IPV6,)),
        ((LISTENER6,), (IPV4,)),
        ((LISTENER6,), ()),
        ((LISTENER, LISTENER6), (RequestedAddressFamily(3),)),
        ((LISTENER, LISTENER6), (RequestedAddressFamily(0),)),
    ],
)
def test_a_family_that_is_not_relayed_is_not_supported(
    listeners: tuple[Address, ...], attributes: tuple[Attribute, ...]
) -> None:
    world = World(replace(SETTINGS, listeners=listeners))
    client = world.client("192.0.2.7" if LISTENER in listeners else "2001:db8::7")
    assert code(client.request(Method.ALLOCATE, UDP, *attributes)) == 440


# Step 8: even ports and reservations.


def test_even_port_gives_an_even_port() -> None:
    world = World()
    ports = {world.client(port=port).allocate(EvenPort()).port for port in range(1, 40)}
    assert len(ports) == 39
    assert {port % 2 for port in ports} == {0}


def test_the_next_port_is_reserved_for_who_has_the_token() -> None:
    world = World()
    response = world.client(port=1).request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    first = relayed(response)
    second = Address(first.host, first.port + 1)
    assert first.port % 2 == 0
    assert world.sockets == {first, second}
    other = world.client("2001:db8::7", 9, transport=Transport.TCP, username="bob")
    assert other.allocate(token(response)) == second
    third = world.client(port=2)
    assert code(third.request(Method.ALLOCATE, UDP, token(response))) == 508


def test_a_reserved_port_is_closed_when_nobody_comes() -> None:
    world = World()
    client = world.client()
    response = client.request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    world.wait(RESERVATION_LIFETIME - 0.1)
    assert len(world.sockets) == 2
    world.wait(0.2)
    assert world.sockets == {relayed(response)}
    late = world.client(port=2)
    assert code(late.request(Method.ALLOCATE, UDP, token(response))) == 508


def test_nothing_is_relayed_or_answered_on_a_reserved_port() -> None:
    world = World()
    response = world.client().request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    second = Address(relayed(response).host, relayed(response).port + 1)
    binding = Message.request(Method.BINDING, bytes(12)).encode()
    assert world.receive(binding, Path(Transport.UDP, second, PEER)) == []


def test_a_pair_is_looked_for_until_both_ports_are_free() -> None:
    ports = PortRange(50000, 50005)
    world = World(replace(SETTINGS, relay_ports=ports))
    world.foreign_sockets = {Address(LISTENER.host, 50001), Address(LISTENER.host, 50002)}
    response = world.client().request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    assert relayed(response).port == 50004
    assert {address.port for address in world.sockets} == {50004, 50005}


def test_a_range_without_a_pair_is_insufficient_capacity() -> None:
    world = World(replace(SETTINGS, relay_ports=PortRange(50001, 50002)))
    client = world.client()
    assert code(client.request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))) == 508
    assert client.allocate(EvenPort()).port == 50002


def test_the_whole_range_is_given_out_and_no_more() -> None:
    world = World(replace(SETTINGS, relay_ports=PortRange(50000, 50019)))
    ports = {world.client(port=port).allocate().port for port in range(1, 21)}
    assert ports == set(range(50000, 50020))
    last = world.client(port=99)
    assert code(last.request(Method.ALLOCATE, UDP)) == 508
    world.wait(601)
    last.allocate()


def test_ports_that_others_hold_are_skipped_a_bounded_number_of_times() -> None:
    world = World()
    world.refuse_sockets = IN_USE
    client = world.client()
    assert code(client.request(Method.ALLOCATE, UDP)) == 508
    assert len(world.opened) == MAX_TRIES
    assert len({request.local for request in world.opened}) == MAX_TRIES
    world.refuse_sockets = None
    client.allocate()


def test_a_socket_that_cannot_be_opened_is_not_tried_elsewhere() -> None:
    world = World()
    world.refuse_sockets = Failure("too many open files")
    assert code(world.client().request(Method.ALLOCATE, UDP)) == 508
    assert len(world.opened) == 1
    (refused,) = world.take_events(RequestRefused)
    assert (refused.reason, refused.username) == ("too many open files", "alice")


# Step 10.


def test_a_user_has_a_quota_and_another_user_has_its_own() -> None:
    world = World(replace(SETTINGS, allocations_per_user=2))
    first = world.client(port=1)
    first.allocate()
    world.client(port=2).allocate()
    third = world.client(port=3)
    assert code(third.request(Method.ALLOCATE, UDP)) == 486
    world.client(port=4, username="bob").allocate()
    first.request(Method.REFRESH, Lifetime(0))
    third.allocate()


def test_a_reserved_port_burdens_the_quota_until_it_is_used_or_closed() -> None:
    world = World(replace(SETTINGS, allocations_per_user=2))
    pair = EvenPort(reserve_next=True)
    response = world.client(port=1).request(Method.ALLOCATE, UDP, pair)
    assert code(world.client(port=2).request(Method.ALLOCATE, UDP)) == 486
    world.client(port=3).allocate(token(response))
    assert code(world.client(port=4).request(Method.ALLOCATE, UDP)) == 486
    bob = world.client(port=5, username="bob")
    assert code(bob.request(Method.ALLOCATE, UDP, pair)) is None
    assert code(world.client(port=6, username="bob").request(Method.ALLOCATE, UDP)) == 486
    world.wait(RESERVATION_LIFETIME)
    assert code(world.client(port=6, username="bob").request(Method.ALLOCATE, UDP)) is None


def test_a_token_tells_which_worker_has_the_port() -> None:
    world = World(replace(SETTINGS, worker=LAST_WORKER))
    tokens = [
        token(world.client(port=port).request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True)))
        for port in (1, 2)
    ]
    assert [each.value[0] for each in tokens] == [LAST_WORKER] * 2
    assert tokens[0] != tokens[1]
    world.client(port=3).allocate(tokens[1])


def test_the_token_of_another_user_burdens_who_uses_it() -> None:
    world = World(replace(SETTINGS, allocations_per_user=2))
    response = world.client(port=1).request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    bobs = [world.client(port=port, username="bob") for port in (2, 3, 4)]
    bobs[0].allocate()
    bobs[1].allocate()
    assert code(bobs[2].request(Method.ALLOCATE, UDP, token(response))) == 486
    bobs[0].request(Method.REFRESH, Lifetime(0))
    bobs[2].allocate(token(response))
    world.client(port=5).allocate()


def test_a_token_is_good_when_the_server_is_full() -> None:
    world = World(replace(SETTINGS, allocations=2))
    response = world.client(port=1).request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))
    assert code(world.client(port=2).request(Method.ALLOCATE, UDP)) == 508
    world.client(port=3, username="bob").allocate(token(response))


def test_the_server_grants_a_number_of_allocations_in_all() -> None:
    world = World(replace(SETTINGS, allocations=3))
    for port, username in ((1, "alice"), (2, "bob"), (3, "alice")):
        world.client(port=port, username=username).allocate()
    assert code(world.client(port=4).request(Method.ALLOCATE, UDP)) == 508
    world.wait(600)
    world.client(port=4).allocate()


def test_openings_that_fail_give_their_quota_back() -> None:
    world = World(replace(SETTINGS, allocations_per_user=2))
    client = world.client()
    world.refuse_sockets = IN_USE
    for attribute in (EvenPort(), EvenPort(reserve_next=True)):
        assert code(client.request(Method.ALLOCATE, UDP, attribute)) == 508
    world.refuse_sockets = None
    assert code(client.request(Method.ALLOCATE, UDP, EvenPort(reserve_next=True))) is None


# Sockets that never come, or come too late.


def test_waiting_openings_are_bounded_and_end() -> None:
    world = World(replace(SETTINGS, allocations_per_user=MAX_PENDING + 9))
    world.hold_sockets = True
    for number in range(MAX_PENDING):
        client = world.client(port=1024 + number)
        assert client.send(client.form(Method.ALLOCATE, UDP)) == []
    assert world.client(port=1).send(world.client(port=1).form(Method.ALLOCATE, UDP)) == []
    assert len(world.opened) == MAX_PENDING
    answers = world.wait(PENDING_LIFETIME)
    assert {code(Message.parse(answer.data)) for answer in answers} == {500}
    for request in world.opened:
        world.answer_socket(request)
    world.drain()
    assert world.sockets == set()
    world.hold_sockets = False
    world.client(port=1).allocate()


def test_a_lost_connection_closes_the_socket_that_comes_after_it() -> None:
    world = World()
    world.hold_sockets = True
    client = world.client(transport=Transport.TCP)
    client.send(client.form(Method.ALLOCATE, UDP))
    world.server.disconnected(client.path, world.now)
    world.answer_socket(world.opened[0])
    assert world.drain() == []
    assert world.take_events(CloseSocket) == [CloseSocket(world.opened[0].local)]
    assert len(world.server.allocations) == 0


def test_a_lost_connection_closes_the_first_socket_of_a_pair() -> None:
    world = World(replace(SETTINGS, allocations_per_user=2))
    world.hold_sockets = True
    client = world.client(transport=Transport.TCP)
    client.send(client.form(Method.ALLOCATE, UDP, EvenPort(reserve_next=True)))
    world.answer_socket(world.opened[0])
    world.drain()
    world.server.disconnected(client.path, world.now)
    world.drain()
    assert world.sockets == set()
    world.hold_sockets = False
    world.client(port=1).allocate(EvenPort())


def test_a_lost_connection_closes_its_allocation() -> None:
    world = World()
    client = world.client(transport=Transport.TCP)
    address = client.allocate()
    world.server.disconnected(client.path, world.now)
    world.drain()
    (closed,) = world.take_events(AllocationClosed)
    assert (closed.client, closed.reason) == (client.path, CloseReason.DISCONNECTED)
    assert world.take_events(CloseSocket) == [CloseSocket(address)]
    world.server.disconnected(client.path, world.now)
    assert world.drain() == []


# Retransmissions.


def test_a_retransmitted_allocate_is_answered_identically() -> None:
    world = World()
    client = world.client()
    data = client.form(Method.ALLOCATE, UDP)
    first = client.send(data)
    world.wait(39)
    assert client.send(data) == first
    assert len(world.sockets) == 1
    world.wait(2)
    assert code(client.exchange(data)) == 437


def test_a_refused_allocate_stays_refused_when_retransmitted() -> None:
    world = World(replace(SETTINGS, allocations_per_user=1))
    holder = world.client(port=1)
    holder.allocate()
    client = world.client(port=2)
    data = client.form(Method.ALLOCATE, UDP)
    first = client.send(data)
    holder.request(Method.REFRESH, Lifetime(0))
    assert client.send(data) == first
    assert len(world.server.allocations) == 0


def test_an_allocate_that_arrives_again_after_deletion_creates_nothing() -> None:
    world = World()
    client = world.client()
    data = client.form(Method.ALLOCATE, UDP)
    first = client.send(data)
    for number in range(10):
        peer = XorPeerAddress(Address(PEER.host, number))
        client.request(Method.CHANNEL_BIND, ChannelNumber(0x4000 + number), peer)
    client.request(Method.REFRESH, Lifetime(0))
    assert client.send(data) == first
    assert len(world.server.allocations) == 0


def test_a_stream_repeats_nothing() -> None:
    world = World()
    client = world.client(transport=Transport.TCP)
    data = client.form(Method.ALLOCATE, UDP)
    client.send(data)
    assert code(client.exchange(data)) == StunError.ALLOCATION_MISMATCH
