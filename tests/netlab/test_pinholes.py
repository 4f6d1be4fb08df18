"""Pinholes for IPv6 in a real gateway's firewall: opened, reached, and closed again."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.netlab.gateway import Home, home, run_on
from tests.netlab.namespaces import Lab, run
from tests.netlab.test_miniupnpd import NATKIT, Holding, running

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "miniupnpd", "nftables")]

HOST: Final = "2001:db8:77::2"
GATEWAY: Final = "2001:db8:77::1"
STRANGER: Final = "2001:db8:1::2"
PORT: Final = 40000
ECHO: Final = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as echo:
    echo.bind(("::", 40000))
    print("bound", flush=True)
    while True:
        data, source = echo.recvfrom(2048)
        echo.sendto(data, source)
"""
CALL: Final = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as call:
    call.settimeout(float(sys.argv[2]))
    call.connect((sys.argv[1], 40000))
    for _ in range(5):
        call.send(b"hello")
        try:
            assert call.recv(100) == b"hello"
        except OSError:
            continue
        print("reached")
        break
"""


@pytest.fixture
def network(lab: Lab, tmp_path: Path) -> Iterator[Home]:
    """IPv6 beside IPv4, with a host inside that answers."""
    with home(lab, tmp_path / "miniupnpd") as made:
        for host, interface, address in (
            (made.host, "eth0", HOST),
            (made.router, "lan", GATEWAY),
            (made.router, "wan", "2001:db8:1::1"),
            (made.stranger, "eth0", STRANGER),
        ):
            host.configure("address", "add", f"{address}/64", "dev", interface, "nodad")
        made.host.configure("-6", "route", "add", "default", "via", GATEWAY)
        made.stranger.configure("-6", "route", "add", "2001:db8:77::/64", "via", "2001:db8:1::1")
        run(made.router, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        made.start()
        with running(made.host, sys.executable, "-c", ECHO) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "bound\n"
            yield made


def is_reached(network: Home, *, patience: float = 10.0) -> bool:
    call = [sys.executable, "-c", CALL, HOST, str(patience / 5)]
    return run_on(network.stranger, call).stdout == "reached\n"


@pytest.mark.parametrize("method", ["pcp", "upnp"])
def test_a_pinhole_lets_strangers_in_until_we_leave(network: Home, method: str) -> None:
    assert not is_reached(network, patience=1.0)
    command = (*NATKIT, "map", str(PORT), "--ipv6", "--gateway", GATEWAY, "--json")
    with running(network.host, *command, "--method", method) as process:
        held = Holding(process)
        held.read_json()
        place = {"address": HOST, "port": PORT}
        # There is no NAT: it is the same inside and outside.
        assert held.mapping["external"] == held.mapping["internal"] == place
        assert held.mapping["method"] == method
        assert f"dport {PORT}" in network.pinholes()
        assert is_reached(network)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert "dport" not in network.pinholes()
    assert not is_reached(network, patience=1.0)


def test_the_gateway_tells_its_protocols_by_ipv6(network: Home) -> None:
    shown = run_on(network.host, [*NATKIT, "map", "--ipv6", "--gateway", GATEWAY])
    assert shown.returncode == 0, shown.stderr
    said = {line.split()[0]: line.split()[1] for line in shown.stdout.splitlines()[1:]}
    assert said == {"PCP": "yes", "UPnP": "yes"}
