"""The client's permission list: batches, refreshes, waiting data, bounds."""

import pytest

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.turn.permissions import (
    BATCH_WINDOW,
    DATAGRAM_COST,
    MAX_PERMISSIONS,
    MAX_WAITING,
    PEERS_PER_REQUEST,
    REFRESH_MARGIN,
    Permissions,
)
from natkit.turn.registry import PERMISSION_LIFETIME

PEER = Address("192.0.2.1", 5000)


def peer(host: str) -> Address:
    return Address(host, 5000)


def test_hosts_are_requested_once_and_in_batches() -> None:
    permissions = Permissions()
    peers = [peer(f"192.0.2.{number}") for number in range(PEERS_PER_REQUEST + 1)]
    assert permissions.request([*peers, peers[0]]) == [
        peers[:PEERS_PER_REQUEST],
        peers[PEERS_PER_REQUEST:],
    ]
    assert permissions.request(peers) == []


def test_a_refresh_names_the_port_that_was_asked_for_last() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    permissions.install(PEER, 0.0)
    assert permissions.request([PEER._replace(port=7)]) == []
    assert permissions.due(220.0).refresh == ([PEER._replace(port=7)],)


def test_a_permission_is_refreshed_early_enough_for_two_whole_transactions() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    permissions.install(PEER, 10.0)
    deadline = permissions.next_deadline()
    assert deadline == 10.0 + PERMISSION_LIFETIME - REFRESH_MARGIN
    assert permissions.due(deadline - 0.001).refresh == ()
    assert permissions.due(deadline).refresh == ([PEER],)


def test_a_refresh_takes_along_what_is_due_soon() -> None:
    permissions = Permissions()
    for host, installed_at in (
        ("192.0.2.1", 0.0),
        ("192.0.2.2", BATCH_WINDOW),
        ("192.0.2.3", BATCH_WINDOW + 1),
    ):
        permissions.request([peer(host)])
        permissions.install(peer(host), installed_at)
    due = permissions.due(PERMISSION_LIFETIME - REFRESH_MARGIN)
    assert due.refresh == ([peer("192.0.2.1"), peer("192.0.2.2")],)


def test_a_refresh_under_way_is_not_started_again_and_ends_with_the_permission() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    permissions.install(PEER, 0.0)
    assert permissions.due(PERMISSION_LIFETIME - REFRESH_MARGIN).refresh
    almost = permissions.due(PERMISSION_LIFETIME - 1)
    assert (almost.refresh, almost.ended) == ((), ())
    assert permissions.due(PERMISSION_LIFETIME).ended == (PEER.host,)
    assert PEER.host not in permissions


def test_an_unanswered_refresh_is_retried_until_the_permission_ends() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    assert not permissions.retry(PEER.host, 0.0)
    permissions.install(PEER, 0.0)
    permissions.due(220.0)
    assert permissions.retry(PEER.host, 259.5)
    assert permissions.due(259.5).refresh == ([PEER],)
    assert not permissions.retry(PEER.host, PERMISSION_LIFETIME)


def test_a_released_permission_lapses_in_silence() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    permissions.install(PEER, 0.0)
    permissions.release(PEER.host)
    assert permissions.due(PERMISSION_LIFETIME - REFRESH_MARGIN).refresh == ()
    due = permissions.due(PERMISSION_LIFETIME)
    assert (due.refresh, due.ended, len(permissions)) == ((), (), 0)


def test_waiting_data_comes_out_in_order_when_the_permission_is_installed() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    permissions.hold(PEER, b"one")
    permissions.hold(Address(PEER.host, 1), b"two")
    assert permissions.install(PEER, 0.0) == [(PEER, b"one"), (Address(PEER.host, 1), b"two")]
    assert permissions.install(PEER, 1.0) is None


def test_waiting_data_is_bounded_and_the_newest_is_dropped() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    room = MAX_WAITING // DATAGRAM_COST
    for _ in range(room + 5):
        permissions.hold(PEER, b"")
    assert permissions.dropped == 5
    waiting = permissions.install(PEER, 0.0)
    assert waiting is not None
    assert len(waiting) == room
    permissions.request([peer("192.0.2.2")])
    permissions.hold(Address("192.0.2.2", 1), bytes(MAX_WAITING - DATAGRAM_COST))
    assert permissions.dropped == 5


def test_waiting_data_of_a_refused_permission_is_dropped() -> None:
    permissions = Permissions()
    permissions.request([PEER])
    permissions.hold(PEER, b"data")
    assert permissions.remove(PEER.host)
    assert not permissions.remove(PEER.host)
    assert permissions.dropped == 1


def test_permissions_are_bounded_and_a_request_past_the_bound_adds_none() -> None:
    permissions = Permissions()
    permissions.request(
        peer(f"10.0.{number >> 8}.{number & 255}") for number in range(MAX_PERMISSIONS)
    )
    with pytest.raises(MisuseError):
        permissions.request([PEER])
    assert len(permissions) == MAX_PERMISSIONS
    assert permissions.request([peer("10.0.0.0")]) == []
