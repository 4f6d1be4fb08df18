"""What one user, and all together, may hold and have relayed."""

from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Transport
from natkit.stun.attributes import ChannelNumber, Data, Lifetime, XorPeerAddress
from natkit.stun.message import Message
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from stun_server.allocations import SWEEP_INTERVAL
from stun_server.settings import RealmChoice, Settings
from tests.stun_server.world import PEER, SETTINGS, Client, World, code

RATE = 100_000


def world(**limits: int) -> World:
    values = {
        name: limits.get(name, getattr(SETTINGS, name))
        for name in ("permissions", "permissions_per_user", "channels", "channels_per_user")
    }
    return World(replace(SETTINGS, **values))


def peer(number: int) -> Address:
    return Address(f"8.8.{number >> 8}.{number & 255}", 5000)


def bind(client: Client, number: int) -> int | None:
    """Bind a channel of that number, to a host of its own; its permission comes with it."""
    attributes = (ChannelNumber(0x4000 + number), XorPeerAddress(peer(number)))
    return code(client.request(Method.CHANNEL_BIND, *attributes))


def test_a_user_may_have_so_many_permissions_in_all_its_allocations() -> None:
    there = world(permissions_per_user=10)
    one, two = there.client(port=1), there.client(port=2)
    other = there.client(port=3, username="bob")
    for client in (one, two, other):
        client.allocate()
    assert code(one.permit(*(peer(number) for number in range(6)))) is None
    assert code(two.permit(*(peer(number) for number in range(4)))) is None
    assert code(two.permit(peer(9))) == 508
    # RFC 8656 §10.2: all of a request or nothing of it; what is there is refreshed.
    assert code(one.permit(peer(0), peer(8))) == 508
    assert code(one.permit(peer(0), peer(1))) is None
    assert code(other.permit(*(peer(number) for number in range(10)))) is None


def test_all_together_may_have_so_many_permissions() -> None:
    there = world(permissions=5)
    one, other = there.client(port=1), there.client(port=2, username="bob")
    one.allocate()
    other.allocate()
    assert code(one.permit(*(peer(number) for number in range(4)))) is None
    assert code(other.permit(peer(0))) is None
    assert code(other.permit(peer(1))) == 508
    assert bind(other, 1) == 508


def test_channels_are_counted_by_user_and_in_all() -> None:
    there = world(channels_per_user=3, channels=5)
    one, two = there.client(port=1), there.client(port=2)
    other = there.client(port=3, username="bob")
    for client in (one, two, other):
        client.allocate()
    assert [bind(one, 0), bind(one, 1), bind(two, 0), bind(two, 1)] == [None, None, None, 508]
    assert bind(one, 0) is None
    assert [bind(other, number) for number in range(3)] == [None, None, 508]


@pytest.mark.parametrize("how", ["deleted", "expired", "disconnected"])
def test_what_a_closed_allocation_held_is_free_again(how: str) -> None:
    there = world(permissions_per_user=3, channels_per_user=2)
    transport = Transport.TCP if how == "disconnected" else Transport.UDP
    one = there.client(port=1, transport=transport)
    one.allocate()
    assert [bind(one, 0), bind(one, 1)] == [None, None]
    match how:
        case "deleted":
            one.request(Method.REFRESH, Lifetime(0))
        case "expired":
            there.wait(SETTINGS.default_lifetime)
        case _:
            there.server.disconnected(one.path, there.now)
            there.drain()
    assert len(there.server.allocations) == 0
    two = there.client(port=2)
    two.allocate()
    assert [bind(two, 0), bind(two, 1), bind(two, 2)] == [None, None, 508]
    assert code(two.permit(peer(2))) is None


def test_what_has_expired_makes_room_even_in_other_allocations() -> None:
    there = world(permissions_per_user=4)
    one, two = there.client(port=1), there.client(port=2)
    one.allocate()
    two.allocate()
    assert code(one.permit(*(peer(number) for number in range(4)))) is None
    assert code(two.permit(peer(0))) == 508
    there.wait(301.0)
    one.request(Method.REFRESH)
    two.request(Method.REFRESH)
    assert code(two.permit(*(peer(number) for number in range(4)))) is None
    # A search through everything is not made at anybody's will, so soon after the last one.
    assert code(one.permit(peer(0))) == 508
    there.wait(SWEEP_INTERVAL)
    assert code(one.permit(peer(0))) == 508


def send(client: Client, size: int) -> bool:
    data = ChannelData(0x4000, bytes(size)).encode(padded=client.transport.is_reliable)
    return bool(client.send(data))


def bandwidth(per_user: int | None = None, in_all: int | None = None) -> World:
    return World(replace(SETTINGS, bandwidth_per_user=per_user, bandwidth=in_all))


def opened(there: World, port: int, username: str = "alice") -> tuple[Client, Address]:
    client = there.client(port=port, username=username)
    relayed = client.allocate()
    attributes = (ChannelNumber(0x4000), XorPeerAddress(PEER))
    assert code(client.request(Method.CHANNEL_BIND, *attributes)) is None
    return client, relayed


def test_a_user_has_its_rate_each_way_whatever_carries_the_data() -> None:
    there = bandwidth(per_user=RATE)
    one, relayed = opened(there, 1)
    two, _ = opened(there, 2)
    other, _ = opened(there, 3, "bob")
    assert sum(send(one, 1_000) for _ in range(80)) == 80
    indication = Message.indication(
        Method.SEND, bytes(12), XorPeerAddress(PEER), Data(bytes(1_000))
    ).encode()
    assert sum(bool(two.send(indication)) for _ in range(80)) == 20
    assert send(other, 1_000)
    down = sum(bool(there.from_peer(bytes(1_000), PEER, relayed)) for _ in range(150))
    assert down == 100
    there.now += 0.25
    assert sum(send(one, 1_000) for _ in range(80)) == 25


def test_all_together_have_a_rate_that_one_users_excess_does_not_eat_up() -> None:
    there = bandwidth(per_user=RATE, in_all=3 * RATE // 2)
    one, _ = opened(there, 1)
    other, _ = opened(there, 2, "bob")
    assert sum(send(one, 1_000) for _ in range(1_000)) == 100
    assert sum(send(other, 1_000) for _ in range(1_000)) == 50


def test_nothing_is_kept_of_a_user_without_allocations() -> None:
    there = bandwidth(per_user=RATE)
    for number in range(3):
        client, _ = opened(there, 1 + number)
        send(client, 1_000)
    for number in range(3):
        client = there.client(port=1 + number)
        client.request(Method.REFRESH, Lifetime(0))
    assert len(there.server.allocations) == 0
    assert not there.server.allocations._bandwidth._users


def test_where_nothing_is_limited_no_allocation_has_buckets() -> None:
    there = bandwidth()
    client, _ = opened(there, 1)
    (allocation,) = there.server.allocations
    assert allocation.rates is None
    assert send(client, 60_000)


def test_each_realm_has_its_own_rate_for_a_user_and_a_reload_changes_it() -> None:
    def settings(rate: int) -> Settings:
        realm = replace(SETTINGS, realm="other", bandwidth_per_user=7)
        choice = RealmChoice(realm, origins=frozenset({"https://other.example"}))
        return replace(SETTINGS, bandwidth_per_user=rate, realms=(choice,))

    there = World(settings(RATE))
    client, _ = opened(there, 1)
    (allocation,) = there.server.allocations
    assert allocation.rates is not None
    assert [bucket.rate for bucket in allocation.rates.to_peers] == [RATE]
    there.server.configure(settings(2 * RATE), there.now)
    opened(there, 2)
    assert [bucket.rate for bucket in allocation.rates.to_clients] == [2 * RATE]
    there.now += 1
    assert sum(send(client, 1_000) for _ in range(300)) == 200
