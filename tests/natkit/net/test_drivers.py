"""What drivers can do, as the kernel says."""

import os
import socket

import pytest

from natkit.net.drivers import runs_xdp
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import lab


@pytest.mark.netns
def test_a_driver_says_whether_it_runs_programs_of_xdp() -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with lab() as made:
        host = made.host("host")
        made.cable((host, "eth0", ""), (host, "eth1", ""))
        with inside(host):
            cable, loopback = map(socket.if_nametoindex, ("eth0", "lo"))
            # Linux tells since 6.3.
            assert (runs_xdp(cable), runs_xdp(loopback)) in ((True, False), (None, None))
            assert runs_xdp(max(cable, socket.if_nametoindex("eth1")) + 1) is None
