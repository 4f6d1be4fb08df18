"""The bounds on TCP clients."""

from ipaddress import ip_network

import pytest

from natkit.address import Address
from natkit.machine import Path, Transport
from stun_server.sharing import OwnCounts
from stun_server.shell.connections import Admission, ConnectionLimits
from stun_server.strangers import ClientPolicy

LOCAL = Address("192.0.2.1", 3478)


def of(host: str, port: int = 1) -> Path:
    return Path(Transport.TCP, LOCAL, Address(host, port))


def admission(
    total: int = 100, per_source: int = 100, counts: OwnCounts | None = None
) -> Admission:
    return Admission(ConnectionLimits(total, per_source, 30.0), ClientPolicy((), ()), counts)


def test_the_total_is_bounded_whatever_the_sources() -> None:
    door = admission(total=3)
    hosts = [f"198.51.100.{number}" for number in range(5)]
    assert [door.admit(of(host)) for host in hosts] == [True] * 3 + [False] * 2
    assert (len(door), door.declined) == (3, 2)
    door.release(of(hosts[0]))
    assert door.admit(of(hosts[4]))


@pytest.mark.parametrize(
    ("first", "second", "third", "same"),
    [
        ("198.51.100.1", "198.51.100.1", "198.51.100.2", True),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", True),
        ("fe80::1%lo", "fe80::2%lo", "2001:db8::1", True),
        ("198.51.100.1", "198.51.100.2", "198.51.100.3", False),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_64(
    first: str, second: str, third: str, same: bool
) -> None:
    door = admission(per_source=1)
    assert door.admit(of(first))
    assert door.admit(of(second)) != same
    assert door.admit(of(third))


def test_the_bounds_hold_for_all_workers_together() -> None:
    counts = OwnCounts()
    doors = [admission(total=4, per_source=2, counts=counts) for _ in range(2)]
    first, second = "198.51.100.1", "198.51.100.2"
    assert [door.admit(of(first)) for door in (*doors, *doors)] == [True, True, False, False]
    assert [doors[0].admit(of(second)) for _ in range(3)] == [True, True, False]
    assert [doors[1].admit(of("198.51.100.3")), len(doors[0]), len(doors[1])] == [False, 3, 1]
    doors[1].release(of(first))
    assert doors[0].admit(of("198.51.100.3"))


def test_nothing_is_kept_of_sources_without_a_connection() -> None:
    counts = OwnCounts()
    door = admission(total=10, per_source=1, counts=counts)
    for round_ in range(3):
        for number in range(256):
            path = of(f"198.51.100.{number}", 1024 + round_)
            if door.admit(path):
                door.release(path)
    assert len(door) == 0
    assert not counts._held
    full = admission(total=1, counts=counts)
    assert full.admit(of("198.51.100.1"))
    for number in range(2, 256):
        assert not full.admit(of(f"198.51.100.{number}"))
    assert len(counts._held) == 1


def test_a_client_of_a_denied_network_has_no_connection() -> None:
    policy = ClientPolicy((), (ip_network("198.51.100.0/24"),))
    door = Admission(ConnectionLimits(10, 10, 30.0), policy)
    assert not door.admit(of("198.51.100.1"))
    assert door.admit(of("203.0.113.1"))
    assert (len(door), door.declined, door.denied) == (1, 0, 1)
