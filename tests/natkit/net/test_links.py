"""What lies under an interface, in network namespaces."""

import os
from collections.abc import Iterator

import pytest

from natkit.net.links import NetworkLink, read_links
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host, Lab, ip, lab

pytestmark = pytest.mark.netns


@pytest.fixture(name="made")
def empty_lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        yield made


def links(host: Host) -> dict[str, NetworkLink]:
    with inside(host):
        return {each.name: each for each in read_links()}


def test_a_cable_says_whether_its_far_end_is_in_another_namespace(made: Lab) -> None:
    one, other = made.host("one"), made.host("other")
    made.cable((one, "eth0", ""), (other, "far", ""))
    assert links(one)["eth0"].far_end_elsewhere
    assert links(other)["far"].far_end_elsewhere
    ip("-n", other.namespace, "link", "set", "far", "netns", one.namespace)
    assert not links(one)["eth0"].far_end_elsewhere
    assert not links(one)["far"].far_end_elsewhere


def test_ports_of_a_bridge_are_told_from_interfaces_of_their_own(made: Lab) -> None:
    host = made.host("host")
    made.cable((host, "port", ""), (host, "free", ""))
    host.configure("link", "add", "br0", "type", "bridge")
    host.configure("link", "set", "port", "master", "br0")
    host.configure("link", "set", "free", "down")
    found = links(host)
    assert {name for name, each in found.items() if each.is_port} == {"port"}
    assert {name for name, each in found.items() if each.is_up} == {"lo", "port"}
    assert {name for name, each in found.items() if each.is_loopback} == {"lo"}
    assert found["br0"].kind == "bridge"
