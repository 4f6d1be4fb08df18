"""ChannelBind, by RFC 8656 §12 and §12.2."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.stun.attributes import ChannelNumber, RequestedAddressFamily, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from stun_server.events import ChannelBound, PeerRefused, PermissionInstalled
from tests.stun_server.world import OTHER_PEER, PEER, PEER6, SETTINGS, Client, World, code


def bind(client: Client, number: int, peer: Address = PEER) -> int | None:
    response = client.request(Method.CHANNEL_BIND, ChannelNumber(number), XorPeerAddress(peer))
    return code(response)


def test_a_channel_lives_for_600_seconds_and_brings_its_permission() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.request(Method.REFRESH)
    assert bind(client, 0x4000) is None
    until = world.now + 600
    assert world.take_events(PermissionInstalled) == [
        PermissionInstalled(1, PEER.host, until, only_relayed=False)
    ]
    assert world.take_events(ChannelBound) == [
        ChannelBound(1, 0x4000, PEER, until, only_relayed=False)
    ]
    (sent,) = world.from_peer(b"abc", PEER, relayed)
    assert sent.data == b"\x40\x00\x00\x03abc"
    # Another port of the host is permitted and has no channel.
    (sent,) = world.from_peer(b"abc", Address(PEER.host, 1), relayed)
    assert Message.parse(sent.data).method == Method.DATA


def test_an_expired_channel_relays_nothing() -> None:
    world = World(replace(SETTINGS, default_lifetime=3600))
    client = world.client()
    relayed = client.allocate()
    bind(client, 0x4000)
    world.wait(599.9)
    assert len(world.from_peer(b"", PEER, relayed)) == 1
    assert len(client.send(b"\x40\x00\x00\x00")) == 1
    world.wait(0.2)
    assert world.from_peer(b"", PEER, relayed) == []
    assert client.send(b"\x40\x00\x00\x00") == []
    client.permit(PEER)
    (sent,) = world.from_peer(b"", PEER, relayed)
    assert Message.parse(sent.data).method == Method.DATA


def test_strict_permissions_end_before_their_channel() -> None:
    world = World(replace(SETTINGS, strict_permissions=True))
    client = world.client()
    relayed = client.allocate()
    bind(client, 0x4000)
    (installed,) = world.take_events(PermissionInstalled)
    assert installed.until == world.now + 300
    world.wait(299)
    assert len(world.from_peer(b"", PEER, relayed)) == 1
    world.wait(2)
    assert world.from_peer(b"", PEER, relayed) == []
    assert len(client.send(b"\x40\x00\x00\x00")) == 1


def test_a_create_permission_cuts_no_channels_permission_short() -> None:
    world = World(replace(SETTINGS, default_lifetime=3600))
    client = world.client()
    relayed = client.allocate()
    bind(client, 0x4000)
    world.take_events(PermissionInstalled)
    client.permit(PEER)
    (installed,) = world.take_events(PermissionInstalled)
    assert installed.until == world.now + 600
    world.wait(599)
    assert len(world.from_peer(b"", PEER, relayed)) == 1


def test_binding_again_gives_600_seconds_more() -> None:
    world = World(replace(SETTINGS, default_lifetime=3600))
    client = world.client()
    relayed = client.allocate()
    bind(client, 0x4000)
    world.wait(500)
    assert bind(client, 0x4000) is None
    world.wait(599)
    assert len(world.from_peer(b"", PEER, relayed)) == 1


def test_number_and_peer_are_both_needed() -> None:
    client = World().client()
    client.allocate()
    assert code(client.request(Method.CHANNEL_BIND, ChannelNumber(0x4000))) == 400
    assert code(client.request(Method.CHANNEL_BIND, XorPeerAddress(PEER))) == 400


@pytest.mark.parametrize(
    ("number", "lenient", "strict"),
    [
        (0x0000, 400, 400),
        (0x3FFF, 400, 400),
        (0x4000, None, None),
        (0x4FFF, None, None),
        (0x5000, None, 400),
        (0x7FFF, None, 400),
        (0x8000, 400, 400),
        (0xFFFF, 400, 400),
    ],
)
def test_the_range_of_numbers(number: int, lenient: int | None, strict: int | None) -> None:
    for strict_channels, expected in ((False, lenient), (True, strict)):
        client = World(replace(SETTINGS, strict_channels=strict_channels)).client()
        client.allocate()
        assert bind(client, number) == expected


def test_a_number_stands_for_one_peer_and_a_peer_has_one_number() -> None:
    world = World()
    client = world.client()
    client.allocate()
    assert bind(client, 0x4000) is None
    assert bind(client, 0x4000, OTHER_PEER) == 400
    assert bind(client, 0x4001, PEER) == 400
    assert bind(client, 0x4001, Address(PEER.host, PEER.port + 1)) is None
    assert bind(client, 0x4000) is None


def test_after_expiry_number_and_peer_are_free() -> None:
    world = World(replace(SETTINGS, default_lifetime=3600))
    client = world.client()
    relayed = client.allocate()
    bind(client, 0x4000, PEER)
    bind(client, 0x4001, OTHER_PEER)
    world.wait(600)
    assert bind(client, 0x4001, PEER) is None
    (sent,) = world.from_peer(b"", PEER, relayed)
    assert sent.data == b"\x40\x01\x00\x00"
    assert client.send(b"\x40\x00\x00\x00") == []
    (forwarded,) = client.send(b"\x40\x01\x00\x00")
    assert forwarded.path.remote == PEER


def test_the_channels_of_one_allocation_mean_nothing_to_another() -> None:
    world = World()
    one, two = world.client(port=1), world.client(port=2)
    one.allocate()
    two.allocate()
    assert bind(one, 0x4000) is None
    assert two.send(b"\x40\x00\x00\x00") == []
    assert bind(two, 0x4000, OTHER_PEER) is None


def test_the_peers_family_must_be_the_allocations() -> None:
    client = World().client()
    client.allocate()
    assert bind(client, 0x4000, PEER6) == 443
    client = World().client()
    client.allocate(RequestedAddressFamily(2))
    assert bind(client, 0x4000, PEER6) is None
    assert bind(client, 0x4001, PEER) == 443


def test_a_refused_peer_is_forbidden_with_its_rule() -> None:
    world = World()
    client = world.client()
    client.allocate()
    assert bind(client, 0x4000, Address("10.1.2.3", 80)) == 403
    (refused,) = world.take_events(PeerRefused)
    assert str(refused.rule) == "10.0.0.0/8 (private use, RFC 1918)"
    assert world.take_events(ChannelBound) == []


def test_channels_are_bounded_and_expired_ones_make_room() -> None:
    world = World(replace(SETTINGS, default_lifetime=3600, channels_per_allocation=3))
    client = world.client()
    client.allocate()
    peers = [Address(PEER.host, number + 1) for number in range(5)]
    for number in range(3):
        assert bind(client, 0x4000 + number, peers[number]) is None
        world.wait(1)
    assert bind(client, 0x4003, peers[3]) == 508
    assert bind(client, 0x4000, peers[0]) is None
    world.wait(599)
    assert bind(client, 0x4003, peers[3]) is None
    assert bind(client, 0x4004, peers[4]) is None


def test_a_channel_needs_room_for_its_permission() -> None:
    world = World(replace(SETTINGS, permissions_per_allocation=1))
    client = world.client()
    client.allocate()
    client.permit(PEER)
    assert bind(client, 0x4000, OTHER_PEER) == 508
    assert bind(client, 0x4000, PEER) is None
    assert len(world.take_events(ChannelBound)) == 1


def test_a_channel_to_a_relayed_address_relays_only_while_that_lives() -> None:
    world = World()
    alice, bob = world.client(port=1), world.client(port=2, username="bob")
    relayed_a, relayed_b = alice.allocate(), bob.allocate()
    assert bind(alice, 0x4000, Address(relayed_b.host, 3478)) == 403
    assert bind(alice, 0x4000, relayed_b) is None
    (bound,) = world.take_events(ChannelBound)
    assert bound.only_relayed
    assert len(alice.send(b"\x40\x00\x00\x00")) == 1
    assert len(world.from_peer(b"", relayed_b, relayed_a)) == 1
    world.server.disconnected(bob.path, world.now)
    world.drain()
    assert alice.send(b"\x40\x00\x00\x00") == []
    assert world.from_peer(b"", relayed_b, relayed_a) == []


def test_without_an_allocation_nothing_is_bound() -> None:
    assert bind(World().client(), 0x4000) == 437


def test_a_retransmission_is_answered_identically() -> None:
    world = World()
    client = world.client()
    client.allocate()
    data = client.form(Method.CHANNEL_BIND, ChannelNumber(0x4000), XorPeerAddress(PEER))
    first = client.send(data)
    world.take_events(ChannelBound)
    assert client.send(data) == first
    assert world.take_events(ChannelBound) == []
