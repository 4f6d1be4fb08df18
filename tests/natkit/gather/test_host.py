"""Which of a host's addresses are gathered from, and in what order (RFC 8445 §5.1.1.1)."""

import pytest

from natkit.address import Family
from natkit.gather import GatherSettings, HostAddress
from natkit.gather.host import preferences, usable

ALL = GatherSettings()


def address(
    host: str,
    interface: str = "eth0",
    *,
    is_default: bool = False,
    temporary: bool = False,
    deprecated: bool = False,
    tentative: bool = False,
) -> HostAddress:
    return HostAddress(
        interface=interface,
        host=host,
        is_default=is_default,
        temporary=temporary,
        deprecated=deprecated,
        tentative=tentative,
    )


def hosts(*addresses: HostAddress, settings: GatherSettings = ALL) -> list[str]:
    return [each.host for each in usable(addresses, settings)]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1", "fec0::1", "::192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", "::", "ff02::1"],
)
def test_what_no_peer_may_be_told_is_left_out(host: str) -> None:
    assert hosts(address(host), address("192.0.2.5")) == ["192.0.2.5"]


def test_loopback_is_used_by_those_who_ask_for_it() -> None:
    both = address("127.0.0.1", "lo"), address("192.0.2.5")
    assert hosts(*both, settings=GatherSettings(loopback=True)) == ["192.0.2.5", "127.0.0.1"]


def test_a_temporary_address_hides_what_would_give_its_host_away() -> None:
    assert hosts(
        address("2001:db8::1"),
        address("2001:db8::abcd", temporary=True),
        address("fe80::1%eth0"),
        address("2001:db8:0:1::1"),
        address("2001:db8::2", "eth1"),
    ) == ["2001:db8::abcd", "2001:db8:0:1::1", "2001:db8::2"]


def test_a_deprecated_temporary_address_hides_nothing() -> None:
    assert hosts(
        address("2001:db8::1"), address("2001:db8::abcd", temporary=True, deprecated=True)
    ) == ["2001:db8::1"]


def test_a_deprecated_address_is_used_where_there_is_no_other() -> None:
    assert hosts(address("192.0.2.5", deprecated=True)) == ["192.0.2.5"]
    fresh = address("192.0.2.6")
    assert hosts(address("192.0.2.5", deprecated=True), fresh) == ["192.0.2.6"]
    elsewhere = address("192.0.2.6", "eth1")
    assert set(hosts(address("192.0.2.5", deprecated=True), elsewhere)) == {
        "192.0.2.5",
        "192.0.2.6",
    }


def test_a_tentative_address_cannot_be_used_yet() -> None:
    assert hosts(address("2001:db8::1", tentative=True)) == []


def test_what_the_system_itself_would_use_leads_and_families_alternate() -> None:
    found = usable(
        (
            address("172.17.0.1", "docker0"),
            address("192.0.2.5", is_default=True),
            address("2001:db8::5", is_default=True),
            address("2001:db8::6"),
            address("fe80::5%eth0"),
        ),
        ALL,
    )
    assert [each.host for each in found] == [
        "2001:db8::5",
        "192.0.2.5",
        "2001:db8::6",
        "172.17.0.1",
        "fe80::5%eth0",
    ]
    ranks = preferences(found)
    assert len(set(ranks.values())) == 5
    best = sorted(ranks, key=lambda host: -ranks[host])
    assert best[0] == "2001:db8::5"
    assert best.index("192.0.2.5") < 3


def test_filters_see_interfaces_and_addresses() -> None:
    three = (
        address("192.0.2.5"),
        address("10.8.0.2", "tun0"),
        address("2001:db8::5"),
    )
    wired = GatherSettings(interface_filter=lambda name: name != "tun0")
    assert hosts(*three, settings=wired) == ["2001:db8::5", "192.0.2.5"]
    public = GatherSettings(address_filter=lambda each: not each.host.startswith("10."))
    assert hosts(*three, settings=public) == ["2001:db8::5", "192.0.2.5"]
    ipv4 = GatherSettings(families=frozenset({Family.IPV4}))
    assert hosts(*three, settings=ipv4) == ["192.0.2.5", "10.8.0.2"]


def test_an_address_of_two_interfaces_counts_once() -> None:
    assert hosts(address("192.0.2.5"), address("192.0.2.5", "eth1")) == ["192.0.2.5"]
