"""Each error code of RFC 8656 §19, by the request that gets it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from natkit.address import Address
from natkit.machine import Failure
from natkit.stun.attributes import (
    Attribute,
    ChannelNumber,
    ErrorCode,
    RequestedAddressFamily,
    RequestedTransport,
    ReservationToken,
    XorPeerAddress,
)
from natkit.stun.message import Message
from natkit.stun.registry import REASON_PHRASES, Method
from tests.stun_server.world import LISTENER, PEER, PEER6, SETTINGS, Client, World

UDP = RequestedTransport(17)
PRIVATE = XorPeerAddress(Address("10.0.0.1", 5000))
CHANNEL = ChannelNumber(0x4000)


def allocated(world: World) -> Client:
    client = world.client()
    client.allocate()
    return client


def with_allocation(method: Method, *attributes: Attribute) -> Callable[[], Message]:
    return lambda: allocated(World()).request(method, *attributes)


def without_allocation(method: Method, *attributes: Attribute) -> Callable[[], Message]:
    return lambda: World().client().request(method, *attributes)


def of_another_user(method: Method, *attributes: Attribute) -> Callable[[], Message]:
    def ask() -> Message:
        world = World()
        client = allocated(world)
        client.username = "bob"
        return client.request(method, *attributes)

    return ask


def at_a_server_without_ipv6() -> Message:
    client = World(replace(SETTINGS, listeners=(LISTENER,))).client()
    return client.request(Method.ALLOCATE, UDP, RequestedAddressFamily(2))


def past_the_quota() -> Message:
    world = World(replace(SETTINGS, allocations_per_user=1))
    allocated(world)
    return world.client(port=2).request(Method.ALLOCATE, UDP)


def past_the_capacity() -> Message:
    world = World(replace(SETTINGS, allocations=1))
    allocated(world)
    return world.client(port=2, username="bob").request(Method.ALLOCATE, UDP)


def without_a_socket() -> Message:
    world = World()
    world.refuse_sockets = Failure("too many open files")
    return world.client().request(Method.ALLOCATE, UDP)


def past_the_permissions() -> Message:
    client = allocated(World(replace(SETTINGS, permissions=1)))
    client.permit(PEER)
    return client.permit(Address("9.9.9.9", 1))


CASES: list[tuple[int, str, Callable[[], Message]]] = [
    (403, "a private peer", with_allocation(Method.CREATE_PERMISSION, PRIVATE)),
    (403, "a private peer on a channel", with_allocation(Method.CHANNEL_BIND, CHANNEL, PRIVATE)),
    (437, "a second Allocate", with_allocation(Method.ALLOCATE, UDP)),
    (437, "Refresh of nothing", without_allocation(Method.REFRESH)),
    (
        437,
        "CreatePermission for nothing",
        without_allocation(Method.CREATE_PERMISSION, XorPeerAddress(PEER)),
    ),
    (
        437,
        "ChannelBind for nothing",
        without_allocation(Method.CHANNEL_BIND, CHANNEL, XorPeerAddress(PEER)),
    ),
    (440, "IPv6 where there is none", at_a_server_without_ipv6),
    (
        440,
        "a family that is none",
        without_allocation(Method.ALLOCATE, UDP, RequestedAddressFamily(9)),
    ),
    (441, "another user's Refresh", of_another_user(Method.REFRESH)),
    (
        441,
        "another user's CreatePermission",
        of_another_user(Method.CREATE_PERMISSION, XorPeerAddress(PEER)),
    ),
    (
        441,
        "another user's ChannelBind",
        of_another_user(Method.CHANNEL_BIND, CHANNEL, XorPeerAddress(PEER)),
    ),
    (442, "DCCP", without_allocation(Method.ALLOCATE, RequestedTransport(33))),
    (443, "an IPv6 peer", with_allocation(Method.CREATE_PERMISSION, XorPeerAddress(PEER6))),
    (
        443,
        "an IPv6 peer on a channel",
        with_allocation(Method.CHANNEL_BIND, CHANNEL, XorPeerAddress(PEER6)),
    ),
    (443, "Refresh of IPv6", with_allocation(Method.REFRESH, RequestedAddressFamily(2))),
    (486, "a user's second of one", past_the_quota),
    (508, "the server's second of one", past_the_capacity),
    (508, "no socket", without_a_socket),
    (508, "no such token", without_allocation(Method.ALLOCATE, UDP, ReservationToken(bytes(8)))),
    (508, "a second permission of one", past_the_permissions),
]


@pytest.mark.parametrize(
    ("code", "ask"),
    [pytest.param(code, ask, id=f"{code} {what}") for code, what, ask in CASES],
)
def test_the_request_gets_its_code_and_the_codes_own_phrase(
    code: int, ask: Callable[[], Message]
) -> None:
    assert ask().get(ErrorCode) == ErrorCode(code, REASON_PHRASES[code])


def test_every_code_of_the_rfc_has_a_request_that_gets_it() -> None:
    assert {code for code, _, _ in CASES} == {403, 437, 440, 441, 442, 443, 486, 508}
