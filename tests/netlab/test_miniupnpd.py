"""Port mapping at a real gateway, and whether what it grants is true."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

from tests.netlab.gateway import HOME, OUTSIDE, ROUTER, Home, home, run_on
from tests.netlab.namespaces import Host, Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "miniupnpd", "nftables")]

METHODS = ("pcp", "nat-pmp", "upnp")
NATKIT = (
    sys.executable,
    "-c",
    "import sys; from natkit.cli.main import run; sys.exit(run())",
)
PORT = 40000
ECHO = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as echo:
    echo.bind(("0.0.0.0", 40000))
    print("bound", flush=True)
    while True:
        data, source = echo.recvfrom(2048)
        echo.sendto(data, source)
"""
# Asks the gateway's age in seconds, by PCP's ANNOUNCE, until it has come to some.
AGE = """
import socket, sys
host = bytes(10) + b"\\xff\\xff" + socket.inet_aton("192.168.77.2")
with socket.socket(type=socket.SOCK_DGRAM) as asking:
    asking.settimeout(0.25)
    asking.connect((sys.argv[1], 5351))
    while True:
        asking.send(bytes([2, 0]) + bytes(6) + host)
        try:
            if int.from_bytes(asking.recv(1100)[8:12], "big") >= int(sys.argv[2]):
                break
            asking.recv(1100)
        except TimeoutError:
            pass
print("old")
"""
CALL = """
import socket, sys
with socket.socket(type=socket.SOCK_DGRAM) as call:
    call.settimeout(float(sys.argv[3]))
    call.connect((sys.argv[1], int(sys.argv[2])))
    for _ in range(int(sys.argv[4])):
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
    with home(lab, tmp_path / "miniupnpd") as made:
        yield made


def natkit_map(network: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_on(network.host, [*NATKIT, "map", "--gateway", ROUTER, *arguments])


class Holding:
    """A running ``natkit map``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._out = cast("IO[str]", process.stdout)
        self.shown: dict[str, object] = {}

    def until(self, word: str) -> None:
        """Read its lines as far as one with this word."""
        for line in self._out:
            if word in line:
                return
        raise AssertionError(f"it ended without {word!r}: {self.process.communicate()[1]}")

    def read_json(self) -> None:
        """Read the object that it prints when the outcome is known."""
        lines: list[str] = []
        while line := self._out.readline():
            lines.append(line)
            if line == "}\n":
                break
        else:
            raise AssertionError(self.process.communicate()[1])
        self.shown = cast("dict[str, object]", json.loads("".join(lines)))

    @property
    def mapping(self) -> dict[str, object]:
        return cast("dict[str, object]", self.shown["mapping"])


@contextmanager
def running(host: Host, *command: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*host.prefix, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def mapped(network: Home, *arguments: str) -> Iterator[Holding]:
    command = (*NATKIT, "map", str(PORT), "--gateway", ROUTER, "--json", *arguments)
    with running(network.host, *command) as process:
        held = Holding(process)
        held.read_json()
        yield held


@contextmanager
def echoing(host: Host) -> Iterator[None]:
    with running(host, sys.executable, "-c", ECHO) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bound\n"
        yield


def is_reached(network: Home, port: int = PORT, *, patience: float = 10.0) -> bool:
    call = [sys.executable, "-c", CALL, OUTSIDE, str(port), str(patience / 5), "5"]
    return run_on(network.stranger, call).stdout == "reached\n"


@pytest.mark.parametrize("method", METHODS)
def test_a_mapped_port_is_reached_from_outside_and_closed_when_we_leave(
    network: Home, method: str
) -> None:
    network.start()
    with echoing(network.host):
        assert not is_reached(network, patience=1.0)
        with mapped(network, "--method", method) as held:
            assert held.mapping["method"] == method
            assert held.mapping["external"] == {"address": OUTSIDE, "port": PORT}
            assert is_reached(network)
            held.process.send_signal(signal.SIGINT)
            assert held.process.wait(30) == 130
        assert not is_reached(network, patience=1.0)
        assert "dnat" not in network.rules()


def test_pcp_is_preferred_and_every_protocol_is_told(network: Home) -> None:
    network.start()
    shown = natkit_map(network, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["methods"] == {
        "pcp": "yes",
        "nat-pmp": f"yes, {OUTSIDE}",
        "upnp": f"yes, {OUTSIDE}",
    }
    with mapped(network) as held:
        assert held.mapping["method"] == "pcp"


def test_a_gateway_of_upnp_alone_is_used_after_the_others_were_silent(network: Home) -> None:
    network.start(natpmp=False)
    with mapped(network) as held:
        assert held.mapping["method"] == "upnp"


def test_no_gateway_at_all_is_one_line_and_status_1(network: Home) -> None:
    shown = natkit_map(network, str(PORT))
    assert (shown.returncode, shown.stdout) == (1, "")
    assert len(shown.stderr.splitlines()) == 1
    for word in ("PCP", "NAT-PMP", "no UPnP gateway"):
        assert word in shown.stderr


def test_a_port_that_the_gateway_does_not_map_is_refused_with_its_reason(network: Home) -> None:
    network.start()
    shown = natkit_map(network, "80", "--method", "upnp")
    assert (shown.returncode, shown.stdout) == (1, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("error: ")


def test_a_gateway_that_forgot_is_asked_again(network: Home) -> None:
    network.start()
    with (
        echoing(network.host),
        running(
            network.host,
            *(*NATKIT, "map", str(PORT), "--gateway", ROUTER, "--method", "pcp"),
        ) as process,
    ):
        held = Holding(process)
        held.until("Ctrl-C")
        # A gateway that is younger than its clients' tolerance cannot be seen to have restarted.
        assert run_on(network.host, [sys.executable, "-c", AGE, ROUTER, "6"]).stdout == "old\n"
        network.forget()
        assert not is_reached(network, patience=0.5)
        # As it starts, it announces its age to the network (RFC 6886 §3.2.1, RFC 6887 §14.1.1).
        network.start()
        held.until("restarted")
        held.until("renewed")
        assert is_reached(network)


def test_what_a_killed_program_left_is_removed_at_the_next_start(
    network: Home, tmp_path: Path
) -> None:
    network.start()
    leases = tmp_path / "leases.json"
    with mapped(network, "--leases", str(leases)) as held:
        held.process.kill()
        held.process.wait(30)
    assert f"dport {PORT}" in network.rules()
    assert leases.stat().st_mode & 0o077 == 0
    other = natkit_map(network, "40001", "--leases", str(leases), "--for", "0")
    assert other.returncode == 0, other.stderr
    assert "dnat" not in network.rules()


@pytest.mark.peer("miniupnpc")
def test_upnpc_sees_our_mapping_and_it_is_for_us(network: Home) -> None:
    network.start()
    with mapped(network, "--method", "upnp", "--tcp"):
        listed = run_on(network.host, ["upnpc", "-m", "eth0", "-l"])
        assert f"TCP {PORT}->{HOME}:{PORT}" in " ".join(listed.stdout.split())


@pytest.mark.peer("natpmpc")
def test_natpmpc_is_not_given_the_port_that_is_ours(network: Home) -> None:
    network.start()
    with mapped(network, "--method", "nat-pmp"):
        wish = ["-a", str(PORT), str(PORT + 1), "udp", "60"]
        asked = run_on(network.host, ["natpmpc", "-g", ROUTER, *wish]).stdout
        assert f"protocol UDP to local port {PORT + 1}" in asked
        assert f"Mapped public port {PORT} " not in asked
