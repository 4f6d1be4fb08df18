"""Credentials that expire, and users with several keys at once, as the machine treats them."""

from dataclasses import replace

import pytest

from natkit.stun.attributes import Lifetime, RequestedTransport
from natkit.stun.registry import Method
from stun_server import connectivity_test
from stun_server.events import AllocationOpened, RequestRefused
from tests.stun_server.world import SETTINGS, Client, World, code, credential

ALLOCATE = RequestedTransport(17)
UNIX_OFFSET = 1_700_000_000.0
"""What the world adds to its clock."""


def world_with(*, seconds: float = 100.0, strict: bool = False) -> tuple[World, str]:
    """A world that knows alice by a credential for so many seconds, and the username of that."""
    world = World(replace(SETTINGS, strict_expiry=strict, allocations_per_user=1))
    expires = world.now + UNIX_OFFSET + seconds
    name = f"{int(expires)}:alice"
    known = credential(name, "secret")
    world.users = {name: replace(known, username="alice", sent_as=name, expires=expires)}
    return world, name


def refused(world: World) -> list[tuple[int, str]]:
    return [(event.code, event.reason) for event in world.take_events(RequestRefused)]


def refresh(client: Client) -> int | None:
    return code(client.request(Method.REFRESH, Lifetime(600)))


def test_quota_and_log_name_the_user_without_the_expiry() -> None:
    world, name = world_with()
    world.client(username=name).allocate()
    assert [event.username for event in world.take_events(AllocationOpened)] == ["alice"]
    renewed = f"1{name}"
    known = credential(renewed, "secret")
    world.users[renewed] = replace(known, username="alice", sent_as=renewed)
    second = world.client(port=40001, username=renewed)
    assert code(second.request(Method.ALLOCATE, ALLOCATE)) == 486
    assert [event.username for event in world.take_events(RequestRefused)] == ["alice"]


def test_an_expired_credential_allocates_nothing() -> None:
    world, name = world_with(seconds=100)
    world.wait(100)
    client = world.client(username=name)
    assert code(client.request(Method.ALLOCATE, ALLOCATE)) == 401
    assert refused(world) == [(401, "the credential has expired")]


def test_an_allocation_outlives_its_credential() -> None:
    world, name = world_with(seconds=100)
    client = world.client(username=name)
    client.allocate()
    world.wait(150)
    assert refresh(client) is None
    assert len(world.lookups) == 1


def test_strict_expiry_ends_the_requests_of_a_live_allocation() -> None:
    world, name = world_with(seconds=100, strict=True)
    client = world.client(username=name)
    client.allocate()
    world.wait(99)
    assert refresh(client) is None
    world.wait(1)
    assert refresh(client) == 401
    assert refused(world) == [(401, "the credential has expired")]


def test_a_renewed_credential_of_the_same_user_goes_on() -> None:
    world, name = world_with(seconds=100, strict=True)
    client = world.client(username=name)
    client.allocate()
    world.wait(100)
    renewed = f"1{name}"
    world.users[renewed] = replace(credential(renewed, "secret"), username="alice", sent_as=renewed)
    client.username = renewed
    assert refresh(client) is None


def test_who_does_not_know_the_password_is_not_told_that_it_expired() -> None:
    world, name = world_with(seconds=-1)
    client = world.client(username=name)
    client.password = "guess"
    client.request(Method.ALLOCATE, ALLOCATE)
    assert refused(world) == [(401, "wrong password")]


@pytest.mark.parametrize("password", ["old", "new"])
def test_the_keys_of_either_secret_prove_the_user(password: str) -> None:
    world = World()
    world.users = {
        "alice": replace(credential("alice", "new"), alternatives=(credential("alice", "old"),))
    }
    client = world.client()
    client.password = password
    client.allocate()
    assert refresh(client) is None
    client.password = "other"
    assert refresh(client) == 401


# The connectivity test's credentials are worth little to who wants a free relay.


def test_what_the_connectivity_test_opens_ends_with_its_credential() -> None:
    world, name = world_of_the_test()
    client = world.client(username=name)
    client.allocate()
    world.wait(connectivity_test.LIFETIME - 1)
    assert refresh(client) is None
    world.wait(2)
    assert refresh(client) == 401


def test_all_connectivity_tests_together_have_a_few_allocations() -> None:
    world, name = world_of_the_test()
    for number in range(connectivity_test.ALLOCATIONS):
        world.client(port=41000 + number, username=name).allocate()
    late = world.client(port=50000, username=name)
    assert code(late.request(Method.ALLOCATE, ALLOCATE)) == 486


def world_of_the_test() -> tuple[World, str]:
    world = World(SETTINGS)
    expires = world.now + UNIX_OFFSET + connectivity_test.LIFETIME
    name = f"{int(expires)}:{connectivity_test.NAME}"
    known = credential(name, "secret")
    world.users = {
        name: replace(known, username=connectivity_test.NAME, sent_as=name, expires=expires)
    }
    return world, name
