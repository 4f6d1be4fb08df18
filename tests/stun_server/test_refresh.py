"""Refresh, by RFC 8656 §8.2."""

import pytest

from natkit.machine import CloseSocket
from natkit.stun.attributes import Lifetime, RequestedAddressFamily
from natkit.stun.registry import Method
from stun_server.events import AllocationClosed, AllocationRefreshed, CloseReason
from tests.stun_server.world import PEER, World, code


@pytest.mark.parametrize(
    ("proposed", "granted"), [(None, 600), (1, 600), (700, 700), (3600, 3600), (2**32 - 1, 3600)]
)
def test_the_lifetime_lies_between_default_and_maximum(proposed: int | None, granted: int) -> None:
    world = World()
    client = world.client()
    client.allocate()
    world.wait(100)
    attributes = [] if proposed is None else [Lifetime(proposed)]
    response = client.request(Method.REFRESH, *attributes)
    assert response.get(Lifetime) == Lifetime(granted)
    assert world.take_events(AllocationRefreshed) == [AllocationRefreshed(1, world.now + granted)]
    world.wait(granted - 0.1)
    assert len(world.server.allocations) == 1
    world.wait(0.2)
    assert len(world.server.allocations) == 0


def test_a_refresh_can_shorten_a_life() -> None:
    world = World()
    client = world.client()
    client.allocate(Lifetime(3600))
    client.request(Method.REFRESH, Lifetime(600))
    world.wait(601)
    assert len(world.server.allocations) == 0


def test_a_lifetime_of_zero_deletes() -> None:
    world = World()
    client = world.client()
    relayed = client.allocate()
    client.permit(PEER)
    assert client.request(Method.REFRESH, Lifetime(0)).get(Lifetime) == Lifetime(0)
    assert world.sockets == set()
    assert [type(event) for event in world.events[-2:]] == [AllocationClosed, CloseSocket]
    (closed,) = world.take_events(AllocationClosed)
    assert (closed.relayed, closed.reason) == (relayed, CloseReason.DELETED)
    assert world.take_events(CloseSocket) == [CloseSocket(relayed)]
    assert world.from_peer(b"late", PEER, relayed) == []
    assert code(client.request(Method.REFRESH)) == 437
    client.allocate()
    assert code(client.permit(PEER)) is None


def test_a_retransmitted_deletion_is_answered_identically() -> None:
    world = World()
    client = world.client()
    client.allocate()
    data = client.form(Method.REFRESH, Lifetime(0))
    first = client.send(data)
    assert client.send(data) == first
    world.wait(41)
    assert code(client.exchange(data)) == 437


@pytest.mark.parametrize(("allocated", "other"), [(1, 2), (2, 1), (1, 3)])
def test_the_family_must_be_the_allocations(allocated: int, other: int) -> None:
    client = World().client()
    client.allocate(RequestedAddressFamily(allocated))
    same = client.request(Method.REFRESH, RequestedAddressFamily(allocated))
    assert code(same) is None
    different = client.request(Method.REFRESH, RequestedAddressFamily(other), Lifetime(0))
    assert code(different) == 443


def test_a_refresh_without_allocation_is_a_mismatch() -> None:
    assert code(World().client().request(Method.REFRESH)) == 437
