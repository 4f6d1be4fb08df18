"""Machines that share what the workers of one server share: limits, and relayed addresses."""

from dataclasses import replace
from functools import partial

from natkit.address import Address
from natkit.machine import Path, Transport
from natkit.stun.attributes import ChannelNumber, EvenPort, RequestedTransport, XorPeerAddress
from natkit.stun.registry import Method
from natkit.turn.channel_data import ChannelData
from stun_server.settings import PortRange, Settings
from stun_server.sharing import OwnCounts, Sharing
from tests.stun_server.world import SETTINGS, World, code

UDP = RequestedTransport(17)


def workers(count: int, settings: Settings = SETTINGS) -> list[World]:
    """Machines that know of each other; a port that one has bound is in use for the others."""
    holdings = OwnCounts()
    worlds: list[World] = []

    def elsewhere(number: int, address: Address) -> bool:
        return any(
            world.server.allocations.of_relayed(address) is not None
            for world in worlds
            if world.settings.worker != number
        )

    for number in range(count):
        sharing = Sharing(holdings, partial(elsewhere, number))
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


def test_a_port_of_another_worker_is_not_tried() -> None:
    first, second = workers(2, replace(SETTINGS, relay_ports=PortRange(50_000, 50_003)))
    taken = {first.client(port=port).allocate() for port in (1, 2)}
    free = {second.client(port=port).allocate() for port in (1, 2)}
    assert not taken & free
    assert len(second.opened) == 2
    assert [allocate(first, 3), allocate(second, 3)] == [508, 508]
