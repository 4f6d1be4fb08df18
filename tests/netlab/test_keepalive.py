"""A flow through a real NAT that forgets quickly stays open by keep-alive, and closes without."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.conftest import Sized
from tests.netlab.gateway import run_on
from tests.netlab.namespaces import Host, Lab
from tests.peering.roster import program_path
from tests.stun_server.process import stun_server

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "nftables")]

PHONE_HOST, ROUTER_INSIDE = "192.168.77.2", "192.168.77.1"
ROUTER_OUTSIDE = "198.51.100.1"
SERVER, SERVER_OTHER = "198.51.100.2", "198.51.100.3"
PORT = 3478
RULES = """
table ip nat {
    chain postrouting { type nat hook postrouting priority 100; policy accept;
        oifname "wan" masquerade
    }
}
"""
# Answers keep-alives, and for each line of input calls the phone where it was last seen.
EDGE = """
import selectors, socket, sys, time
from natkit.address import Address
from natkit.keepalive import FlowWatch
from natkit.machine import Path, Transport

watch, calls, phone = FlowWatch(), 0, None
with socket.socket(type=socket.SOCK_DGRAM) as sock, selectors.DefaultSelector() as ready:
    sock.bind(("198.51.100.2", 3478))
    ready.register(sock, selectors.EVENT_READ)
    ready.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is sock:
                data, phone = sock.recvfrom(2048)
                path = Path(Transport.UDP, Address("198.51.100.2", 3478), Address(*phone))
                watch.receive(data, path, time.monotonic())
                for transmit in watch.transmits():
                    sock.sendto(transmit.data, phone)
            elif not sys.stdin.readline():
                sys.exit()
            else:
                calls += 1
                sock.sendto(b"call %d" % calls, phone)
                print("called", flush=True)
"""
# Keeps a flow and tells of calls; without an interval it asks once, and for each line of input.
PHONE = """
import asyncio, sys
from natkit.aio.keepalive import keep
from natkit.keepalive import Alive
from natkit.machine import Transport

class Phone(asyncio.DatagramProtocol):
    flow = None
    def datagram_received(self, data, _):
        if not self.flow.received(data):
            print(data.decode(), flush=True)

async def main():
    loop = asyncio.get_running_loop()
    transport, phone = await loop.create_datagram_endpoint(
        Phone, remote_addr=("198.51.100.2", 3478))
    bound = float(sys.argv[1])
    while True:
        phone.flow = keep(Transport.UDP, transport.sendto, bound=bound or 1000.0)
        assert isinstance(await anext(phone.flow), Alive)
        print("open", flush=True)
        if bound:
            async for event in phone.flow:
                if not isinstance(event, Alive):
                    print(event, flush=True)
        if not await loop.run_in_executor(None, sys.stdin.readline):
            return

asyncio.run(main())
"""


class Home:
    """A phone behind a NAT, and a server outside."""

    def __init__(self, lab: Lab, lifetime: int) -> None:
        self.phone, self.router = lab.host("phone"), lab.host("router")
        self.server = lab.host("server")
        lab.cable(
            (self.phone, "eth0", f"{PHONE_HOST}/24"), (self.router, "lan", f"{ROUTER_INSIDE}/24")
        )
        lab.cable(
            (self.server, "eth0", f"{SERVER}/24 {SERVER_OTHER}/24"),
            (self.router, "wan", f"{ROUTER_OUTSIDE}/24"),
        )
        self.phone.configure("route", "add", "default", "via", ROUTER_INSIDE)
        nft = program_path("nft")
        assert nft is not None
        subprocess.run([*self.router.prefix, nft, "-f", "-"], input=RULES, text=True, check=True)
        for name, value in (
            ("net.ipv4.ip_forward", 1),
            ("net.netfilter.nf_conntrack_udp_timeout", lifetime),
            ("net.netfilter.nf_conntrack_udp_timeout_stream", lifetime),
        ):
            subprocess.run([*self.router.prefix, "sysctl", "-qw", f"{name}={value}"], check=True)


class Program:
    """A running script that prints lines, and is given some."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def line(self) -> str:
        return self._out.readline().strip()

    def call(self) -> None:
        self.go_on()
        assert self.line() == "called"

    def go_on(self) -> None:
        self._in.write("\n")
        self._in.flush()


@contextmanager
def running(host: Host, script: str, *arguments: str) -> Iterator[Program]:
    with subprocess.Popen(
        [*host.prefix, sys.executable, "-W", "error", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


@pytest.mark.timeout(600)
def test_with_keep_alive_it_outlives_the_lifetime_several_times(lab: Lab, sized: Sized) -> None:
    lifetime = sized(quick=5, full=20)
    home = Home(lab, lifetime)
    bound = lifetime * (0.4 if lifetime < 20 else 0.85)
    with running(home.server, EDGE) as edge:
        assert edge.line() == "ready"
        with running(home.phone, PHONE, str(bound)) as phone:
            assert phone.line() == "open"
            time.sleep(sized(quick=3, full=9) * lifetime)
            edge.call()
            assert phone.line() == "call 1"


@pytest.mark.timeout(600)
def test_without_keep_alive_it_closes(lab: Lab, sized: Sized) -> None:
    lifetime = sized(quick=2, full=20)
    home = Home(lab, lifetime)
    with running(home.server, EDGE) as edge:
        assert edge.line() == "ready"
        with running(home.phone, PHONE, "0") as phone:
            assert phone.line() == "open"
            time.sleep(lifetime + 1)
            edge.call()
            # What was sent to the dead binding would be here before what is sent to the new one.
            phone.go_on()
            assert phone.line() == "open"
            edge.call()
            assert phone.line() == "call 2"


@pytest.mark.timeout(900)
def test_the_interval_that_is_measured_is_50_to_95_percent_of_the_lifetime(
    lab: Lab, tmp_path: Path, sized: Sized
) -> None:
    lifetime = sized(quick=4, full=20)
    home = Home(lab, lifetime)
    configuration = tmp_path / "server.toml"
    configuration.write_text(
        f'[listeners]\nalternate = {{ "{SERVER}:{PORT}" = "{SERVER_OTHER}:{PORT + 1}" }}\n'
    )
    with stun_server(tmp_path, "--config", str(configuration), prefix=home.server.prefix):
        done = run_on(
            home.phone,
            [
                *(sys.executable, "-W", "error", "-m", "natkit.cli.main", "keepalive"),
                *(f"{SERVER}:{PORT}", "--measure", "--shortest", "1", "--longest", "60", "--json"),
            ],
            limit=600.0,
        )
    assert (done.returncode, done.stderr) == (0, "")
    found = cast("dict[str, float]", json.loads(done.stdout))
    assert found["measured"], done.stdout
    assert found["survived"] < lifetime + 0.1
    assert 0.5 * lifetime <= found["interval"] <= 0.95 * lifetime
