"""The lab itself: hosts reach each other and nobody else, and nothing is left of them."""

import os
import socket
import subprocess
import sys

import pytest

from tests.netlab.namespaces import Lab, ip, lab
from tests.netlab.world import SERVER, SERVER_IPV6, client_and_server

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2")]

OURS = f"natkit-{os.getpid()}-"
CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
    print(connection.getsockname()[0])
"""
SERVE = """
import socket
with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print(server.getsockname()[1], flush=True)
    for _ in range(2):
        server.accept()[0].close()
"""


def test_hosts_on_a_cable_reach_each_other_by_both_families(lab: Lab) -> None:
    network = client_and_server(lab)
    with subprocess.Popen(
        [*network.server.prefix, sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        for there in (SERVER, SERVER_IPV6):
            done = subprocess.run(
                [*network.client.prefix, sys.executable, "-c", CONNECT, there, port],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip().endswith("2")
        assert server.wait(10) == 0


def test_the_lab_cannot_be_reached_from_outside_and_has_no_way_out(lab: Lab) -> None:
    network = client_and_server(lab)
    assert network.client.configure("route", "show", "default") == ""
    with socket.socket(type=socket.SOCK_DGRAM) as outside, pytest.raises(OSError, match="address"):
        outside.bind((SERVER, 0))


def test_nothing_is_left_of_a_lab() -> None:
    with lab() as made:
        client_and_server(made)
        assert ip("netns", "list").count(OURS) == 2
    assert OURS not in ip("netns", "list")
