"""Neighbours, in a network namespace."""

import os
from collections.abc import Iterator

import pytest

from natkit.net.links import read_links
from natkit.net.neighbours import read_neighbours, refresh_neighbours
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host, lab

pytestmark = pytest.mark.netns


@pytest.fixture(name="hosts")
def two_hosts() -> Iterator[tuple[Host, Host]]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        one, other = made.host("one"), made.host("other")
        made.cable(
            (one, "eth0", "10.9.0.1/24 fd09::1/64"), (other, "eth0", "10.9.0.2/24 fd09::2/64")
        )
        yield one, other


def test_a_stale_neighbour_is_asked_whether_it_is_still_there(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    for address in ("10.9.0.2", "fd09::2"):
        # Not the hardware address that it has: the answer puts it right.
        one.configure(
            *("neighbour", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", "eth0"),
            *("nud", "stale"),
        )
    with inside(one):
        (interface,) = [each.number for each in read_links() if each.name == "eth0"]
        stale = [each for each in read_neighbours() if each.is_stale]
        assert {len(each.address) for each in stale} == {4, 16}
        refresh_neighbours([interface + 1])
        assert [each for each in read_neighbours() if each.is_stale] == stale
        refresh_neighbours([interface])
        known = [each for each in read_neighbours() if each.interface == interface]
        assert len(known) >= 2
        assert not [each for each in known if each.is_stale]


def test_links_tell_what_they_are(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    one.configure("link", "set", "eth0", "address", "02:00:00:00:00:01")
    with inside(one):
        links = {each.name: each for each in read_links()}
    assert links["eth0"].kind == "veth"
    assert links["eth0"].is_ethernet
    assert links["eth0"].mac == bytes.fromhex("020000000001")
    assert (links["eth0"].vlan, links["eth0"].below) == (0, 0)
    assert not links["lo"].is_ethernet
