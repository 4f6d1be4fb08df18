"""Other settings for a machine that runs: no allocation ends, what is refused now is dropped."""

from dataclasses import replace
from ipaddress import ip_network

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import ChannelNumber, Lifetime, RequestedTransport, XorPeerAddress
from natkit.stun.registry import Method, PasswordAlgorithmNumber
from natkit.turn.channel_data import ChannelData
from stun_server.events import (
    AllocationClosed,
    ChannelBound,
    ChannelRevoked,
    PermissionInstalled,
    PermissionRevoked,
)
from stun_server.settings import RealmChoice, Settings
from tests.stun_server.world import PEER, SETTINGS, Client, World, code

PRIVATE = Address("10.0.0.7", 5000)
OPEN = replace(SETTINGS, allowed_peers=(ip_network("10.0.0.0/8"),))


def configure(world: World, settings: Settings) -> None:
    world.server.configure(settings, world.now)
    world.drain()


def bind(client: Client, channel: int, peer: Address) -> int | None:
    attributes = (ChannelNumber(channel), XorPeerAddress(peer))
    return code(client.request(Method.CHANNEL_BIND, *attributes))


def test_the_same_settings_change_nothing() -> None:
    world = World(OPEN)
    client = world.client()
    relayed = client.allocate()
    client.permit(PRIVATE, PEER)
    world.events.clear()
    configure(world, OPEN)
    assert world.events == []
    assert world.from_peer(b"x", PRIVATE, relayed)
    assert code(client.request(Method.REFRESH)) is None


def test_peers_that_are_refused_now_are_cut_off_and_others_are_not() -> None:
    world = World(OPEN)
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    bind(client, 0x4000, PRIVATE)
    configure(world, SETTINGS)

    (permission,) = world.take_events(PermissionRevoked)
    assert permission.peer_host == PRIVATE.host
    assert str(permission.rule).startswith("10.0.0.0/8")
    (channel,) = world.take_events(ChannelRevoked)
    assert (channel.channel, channel.peer) == (0x4000, PRIVATE)
    assert world.from_peer(b"x", PRIVATE, relayed) == []
    assert client.send(ChannelData(0x4000, b"x").encode(padded=False)) == []
    assert bind(client, 0x4000, PRIVATE) == 403
    assert world.from_peer(b"x", PEER, relayed)
    assert world.take_events(AllocationClosed) == []


def test_what_leads_to_a_relayed_address_stays_and_leads_to_nothing_else_there() -> None:
    local = replace(OPEN, relay_ipv4="10.0.0.1")
    world = World(local)
    first, second = world.client(port=1), world.client(port=2)
    one, two = first.allocate(), second.allocate()
    first.permit(two)
    second.permit(one)
    bind(first, 0x4000, two)
    world.events.clear()
    configure(world, replace(local, allowed_peers=()))

    assert {each.only_relayed for each in world.take_events(PermissionInstalled)} == {True}
    assert [each.only_relayed for each in world.take_events(ChannelBound)] == [True]
    assert world.take_events(PermissionRevoked) == []
    (sent,) = first.send(ChannelData(0x4000, b"x").encode(padded=False))
    assert sent.path == Path(Transport.UDP, one, two)
    assert world.from_peer(b"x", one, two)
    assert world.from_peer(b"x", two._replace(port=22), one) == []


def test_lower_limits_end_nothing_and_hold_for_what_comes() -> None:
    world = World()
    first, second = world.client(port=1), world.client(port=2)
    first.allocate()
    configure(world, replace(SETTINGS, allocations=1, default_lifetime=60, maximum_lifetime=60))
    assert code(second.request(Method.ALLOCATE, RequestedTransport(17))) == 508
    lifetime = first.request(Method.REFRESH, Lifetime(3600)).get(Lifetime)
    assert lifetime == Lifetime(60)


def test_a_client_goes_on_with_a_nonce_of_the_same_offer() -> None:
    world = World()
    client = world.client(algorithm=PasswordAlgorithmNumber.SHA_256)
    client.allocate()
    configure(world, replace(SETTINGS, allocations=5))
    assert code(client.request(Method.REFRESH)) is None


def test_a_nonce_of_another_offer_is_stale_and_the_client_gets_a_new_one() -> None:
    world = World()
    client = world.client()
    client.allocate()
    configure(world, replace(SETTINGS, password_algorithms=()))
    assert code(client.request(Method.REFRESH)) == 438
    client.nonce = None
    assert code(client.request(Method.REFRESH)) is None


def test_relayed_addresses_come_from_the_new_ports() -> None:
    world = World()
    ports = SETTINGS.relay_ports._replace(first=60000, last=60003)
    configure(world, replace(SETTINGS, relay_ports=ports))
    assert 60000 <= world.client().allocate().port <= 60003


def test_a_realm_that_is_new_is_served() -> None:
    world = World()
    shop = RealmChoice(replace(SETTINGS, realm="shop"), origins=frozenset({"https://shop"}))
    configure(world, replace(SETTINGS, realms=(shop,)))
    client = world.client()
    client.origin = "https://shop"
    client.challenge()
    client.realm = "shop"
    assert code(client.request(Method.ALLOCATE, RequestedTransport(17))) == 401
    assert world.lookups[-1].realm == "shop"
