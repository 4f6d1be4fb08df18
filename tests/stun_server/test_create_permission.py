"""CreatePermission, by RFC 8656 §9 and §10.2."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.stun.attributes import Lifetime, RequestedAddressFamily, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.events import PeerRefused, PermissionInstalled, RequestRefused
from tests.stun_server.world import OTHER_PEER, PEER, PEER6, SETTINGS, World, code

LOOPBACK = Address("127.0.0.1", 53)


def test_a_permission_lets_the_hosts_every_port_through_for_300_seconds() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    other_port = Address(PEER.host, 1)
    assert world.from_peer(b"x", other_port, relayed) == []
    client.permit(PEER)
    assert world.take_events(PermissionInstalled) == [
        PermissionInstalled(1, PEER.host, world.now + 300, only_relayed=False)
    ]
    assert len(world.from_peer(b"x", other_port, relayed)) == 1
    assert world.from_peer(b"x", OTHER_PEER, relayed) == []
    world.wait(299.9)
    assert len(world.from_peer(b"x", other_port, relayed)) == 1
    world.wait(0.1)
    assert world.from_peer(b"x", other_port, relayed) == []


def test_creating_it_again_gives_300_seconds_more() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    world.wait(200)
    client.permit(PEER)
    world.wait(299)
    assert len(world.from_peer(b"x", PEER, relayed)) == 1


def test_data_gives_no_longer_life() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    for _ in range(300):
        assert len(world.from_peer(b"x", PEER, relayed)) == 1
        world.wait(1)
    assert world.from_peer(b"x", PEER, relayed) == []


def test_the_permissions_of_one_allocation_mean_nothing_to_another() -> None:
    world = World()
    one, two = world.client(port=1), world.client(port=2)
    relayed = one.allocate(), two.allocate()
    one.permit(PEER)
    assert len(world.from_peer(b"x", PEER, relayed[0])) == 1
    assert world.from_peer(b"x", PEER, relayed[1]) == []


def test_a_request_without_peer_is_a_bad_request() -> None:
    client = World().client()
    client.allocate()
    assert code(client.permit()) == 400


def test_every_peer_of_a_request_is_permitted() -> None:
    world = World()
    client = world.client()
    client.allocate()
    assert code(client.permit(PEER, OTHER_PEER, PEER)) is None
    installed = world.take_events(PermissionInstalled)
    assert [event.peer_host for event in installed] == [PEER.host, OTHER_PEER.host]


@pytest.mark.parametrize(("bad", "expected"), [(PEER6, 443), (LOOPBACK, 403)])
@pytest.mark.parametrize("order", [1, -1])
def test_one_bad_peer_spoils_the_request(bad: Address, expected: int, order: int) -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    assert code(client.permit(*(PEER, bad, OTHER_PEER)[::order])) == expected
    assert world.take_events(PermissionInstalled) == []
    assert world.from_peer(b"x", PEER, relayed) == []


def test_an_ipv6_allocation_has_ipv6_peers_only() -> None:
    client = World().client()
    client.allocate(RequestedAddressFamily(2))
    assert code(client.permit(PEER6)) is None
    assert code(client.permit(PEER)) == 443


def test_the_rule_that_refused_is_told() -> None:
    world = World()
    client = world.client()
    client.allocate()
    client.permit(LOOPBACK)
    (refused,) = world.take_events(PeerRefused)
    assert (refused.allocation_id, refused.peer) == (1, LOOPBACK)
    assert str(refused.rule) == "127.0.0.0/8 (loopback, RFC 1122)"
    (request,) = world.take_events(RequestRefused)
    assert (request.method, request.code) == (Method.CREATE_PERMISSION, 403)
    assert "127.0.0.0/8" in request.reason


def test_an_allowed_network_is_permitted() -> None:
    world = World(replace(SETTINGS, allowed_peers=(ip_network("127.0.0.0/30"),)))
    client = world.client()
    client.allocate()
    assert code(client.permit(LOOPBACK)) is None
    assert code(client.permit(Address("127.0.0.4", 53))) == 403


def test_permissions_are_bounded_and_expired_ones_make_room() -> None:
    world = World(replace(SETTINGS, permissions_per_allocation=4))
    client = world.client()
    client.allocate()
    peers = [Address(f"8.8.8.{number}", 1) for number in range(6)]
    assert code(client.permit(*peers[:3])) is None
    assert code(client.permit(*peers[3:5])) == 508
    world.wait(10)
    assert code(client.permit(peers[3])) is None
    assert code(client.permit(peers[4])) == 508
    assert code(client.permit(*peers[:4])) is None
    world.wait(299)
    client.permit(peers[0])
    world.wait(1)
    assert code(client.permit(*peers[3:])) is None
    assert code(client.permit(peers[1])) == 508


def test_a_relayed_address_of_this_server_is_a_permitted_peer() -> None:
    # The listener's own host is in a documentation range, which policy refuses.
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    relayed_a, relayed_b = alice.allocate(), bob.allocate()
    assert code(alice.permit(relayed_b)) is None
    (installed,) = world.take_events(PermissionInstalled)
    assert (installed.peer_host, installed.only_relayed) == (relayed_b.host, True)
    assert len(world.from_peer(b"x", relayed_b, relayed_a)) == 1


@pytest.mark.parametrize("port", [1, 3478])
def test_the_permission_for_a_relayed_address_opens_no_other_port(port: int) -> None:
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    relayed_a, relayed_b = alice.allocate(), bob.allocate()
    other = Address(relayed_b.host, port)
    assert code(alice.permit(other)) == 403
    assert code(alice.permit(relayed_b)) is None
    assert world.from_peer(b"x", other, relayed_a) == []


def test_a_relayed_address_is_a_permitted_peer_only_while_it_lives() -> None:
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    relayed_a, relayed_b = alice.allocate(), bob.allocate()
    assert code(alice.permit(relayed_b)) is None
    world.wait(290)
    alice.permit(relayed_b)
    bob.request(Method.REFRESH)
    world.wait(200)
    world.server.disconnected(bob.path, world.now)
    world.drain()
    assert world.from_peer(b"x", relayed_b, relayed_a) == []
    world.wait(100)  # it was refreshed 300 s ago
    assert code(alice.permit(relayed_b)) == 403


def test_a_permission_is_refreshed_by_a_relayed_address_that_has_closed() -> None:
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    carol = world.client(port=3)
    relayed_a, relayed_b, relayed_c = alice.allocate(), bob.allocate(), carol.allocate()
    alice.permit(relayed_b)
    alice.permit(relayed_c)
    carol.request(Method.REFRESH, Lifetime(0))
    world.wait(200)
    assert code(alice.permit(relayed_c)) is None
    world.wait(200)
    assert len(world.from_peer(b"x", relayed_b, relayed_a)) == 1
    assert world.from_peer(b"x", relayed_c, relayed_a) == []


def test_without_an_allocation_nothing_is_permitted() -> None:
    assert code(World().client().permit(PEER)) == 437


def test_a_retransmission_is_answered_identically() -> None:
    world = World()
    client = world.client()
    client.allocate()
    data = client.form(Method.CREATE_PERMISSION, XorPeerAddress(PEER))
    first = client.send(data)
    assert code(Message.parse(first[0].data)) is None
    world.take_events(PermissionInstalled)
    assert client.send(data) == first
    assert world.take_events(PermissionInstalled) == []
