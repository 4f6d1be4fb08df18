import socket

import netifaces
import pytest

from natkit.address import Address, Family
from natkit.net.interfaces import InterfaceAddress, addresses, expand_wildcard


def test_loopback_is_among_the_addresses() -> None:
    found = [entry for entry in addresses() if entry.host == "127.0.0.1"]
    assert found
    assert all(entry.is_loopback and entry.family is Family.IPV4 for entry in found)


def test_every_address_is_canonical_and_can_be_bound() -> None:
    for entry in addresses():
        assert Address.of(entry.host, 0).host == entry.host
        if entry.is_link_local:
            continue  # one that is still tentative can't be bound
        with socket.socket(entry.family.socket_family, socket.SOCK_DGRAM) as sock:
            sock.bind((entry.host, 0))


@pytest.fixture
def three_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, dict[int, list[dict[str, str]]]] = {
        "lo": {
            netifaces.AF_INET: [{"addr": "127.0.0.1"}],
            netifaces.AF_INET6: [{"addr": "::1"}],
        },
        "eth0": {
            netifaces.AF_INET: [{"addr": "192.0.2.1"}, {"peer": "192.0.2.9"}],
            netifaces.AF_INET6: [
                {"addr": "2001:DB8:0::1"},
                {"addr": "fe80::1%eth0"},
                {"addr": "fe80::2"},
                {"addr": "not an address"},
            ],
        },
        "eth1": {netifaces.AF_INET: [{"addr": "192.0.2.1"}, {"addr": "198.51.100.7"}]},
    }

    def lookup(name: str) -> dict[int, list[dict[str, str]]]:
        if name not in tables:
            raise ValueError("You must specify a valid interface name.")
        return tables[name]

    monkeypatch.setattr(netifaces, "interfaces", lambda: [*tables, "gone0"])
    monkeypatch.setattr(netifaces, "ifaddresses", lookup)


@pytest.mark.usefixtures("three_interfaces")
def test_entries_without_a_usable_address_are_passed_over() -> None:
    assert addresses() == (
        InterfaceAddress("lo", "127.0.0.1"),
        InterfaceAddress("lo", "::1"),
        InterfaceAddress("eth0", "192.0.2.1"),
        InterfaceAddress("eth0", "2001:db8::1"),
        InterfaceAddress("eth0", "fe80::1%eth0"),
        InterfaceAddress("eth0", "fe80::2%eth0"),
        InterfaceAddress("eth1", "192.0.2.1"),
        InterfaceAddress("eth1", "198.51.100.7"),
    )


@pytest.mark.usefixtures("three_interfaces")
def test_a_wildcard_stands_for_each_address_of_its_family_once() -> None:
    assert expand_wildcard(Address("0.0.0.0", 3478)) == (
        Address("127.0.0.1", 3478),
        Address("192.0.2.1", 3478),
        Address("198.51.100.7", 3478),
    )
    assert expand_wildcard(Address("::", 3478)) == (
        Address("::1", 3478),
        Address("2001:db8::1", 3478),
    )


def test_any_other_address_stands_for_itself() -> None:
    assert expand_wildcard(Address("203.0.113.5", 1)) == (Address("203.0.113.5", 1),)
