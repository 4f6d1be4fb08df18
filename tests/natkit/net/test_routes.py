"""Ways out of a host, in a network namespace."""

import os
import socket

import pytest

from natkit.net.routes import default_interfaces
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import lab


@pytest.mark.netns
def test_default_routes_lead_out_by_one_interface_or_by_several_at_once() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        host, other = made.host("host"), made.host("other")
        for number in range(4):
            own = f"10.{number}.0.1/24 fd0{number}::1/64"
            made.cable((host, f"eth{number}", own), (other, f"eth{number}", ""))
        with inside(host):
            numbers = [socket.if_nametoindex(f"eth{number}") for number in range(4)]
            assert default_interfaces() == set()
            host.configure("route", "add", "198.51.100.0/24", "via", "10.3.0.9")
            host.configure("route", "add", "blackhole", "default", "metric", "9")
            assert default_interfaces() == set()
            host.configure("-6", "route", "add", "default", "via", "fd00::9")
            assert default_interfaces() == {numbers[0]}
            hops = ("nexthop", "via", "10.1.0.9", "nexthop", "via", "10.2.0.9")
            host.configure("route", "add", "default", *hops)
            assert default_interfaces() == set(numbers[:3])
