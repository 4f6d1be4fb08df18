"""Measure the relay planes and coturn between hosts on virtual cables, in turn; print the figures.

What a packet costs is what the whole machine was busy, for a plane in the kernel works in nobody's
name.  "direct" is the load alone, on a cable from clients to peers: it is part of all the others.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks.cpu import machine_seconds
from benchmarks.relay.loads import WINDOW, Load, Packets, build_pump, packets
from benchmarks.relay.servers import (
    LOAD_PROCESSOR,
    PASSWORD,
    REALM,
    SERVER_PROCESSOR,
    USERNAME,
    RunningServer,
)
from benchmarks.relay.turn_client import BenchmarkError, Client
from natkit.address import Address
from natkit.machine import Transport
from natkit.relay.kernel_tables import KernelRelay, TableSizes
from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host, Lab, lab, run

CLIENT, LISTENER = "10.1.0.2", "10.1.0.1"
PEER, RELAY = "10.2.0.2", "10.2.0.1"
PORT = 3478
PATIENCE = 30.0
SIZE = 172
_XDP_NATIVE = 1 << 2
_NATIVE = "from natkit.relay import attaching as a; a.OF_VIRTUAL = (a.Mode.NATIVE,); "
_RUN = "from stun_server.cli import run; run()"
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}

LOADS = tuple(
    Load(kind, pairs, 20 if kind == "binding" else SIZE)
    for kind in ("binding", "up", "down")
    for pairs in (1, 64)
)
SERVERS = ("kernel, native", "kernel, generic", "userspace", "coturn")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The server's host, and those of clients and peers."""

    server: Host
    left: Host
    right: Host


@dataclass(frozen=True, slots=True)
class CabledServer(RunningServer):
    """A server on a host of its own."""

    hosts: Hosts

    def client(self, transport: Transport = Transport.UDP) -> Client:
        """A client on its host."""
        with inside(self.hosts.left):
            return Client(self.address, USERNAME, PASSWORD, transport, CLIENT)

    def new_peer(self) -> socket.socket:
        """A peer on its host."""
        with inside(self.hosts.right):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((PEER, 0))
        return sock


def main() -> int:
    """Run; 0 when all could be measured."""
    options = _options()
    found: dict[str, dict[str, list[Packets]]] = {name: {} for name in SERVERS}
    direct: list[float] = []
    try:
        with tempfile.TemporaryDirectory(prefix="natkit-cables-") as name, lab() as made:
            directory = Path(name)
            pump = build_pump(directory)
            hosts = _lay(made)
            with _far_ends(hosts):
                for _ in range(options.rounds):
                    direct.append(_direct(hosts, pump, options.seconds))
                    for server_name in SERVERS:
                        with _serving(server_name, hosts, directory) as server:
                            for load in LOADS:
                                result = packets(server, load, pump, options.seconds)
                                found[server_name].setdefault(load.title, []).append(result)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _show(found, direct)
    return 0


class _Options(argparse.Namespace):
    rounds: int
    seconds: float


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay.cables", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often to measure (10)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each load (2)")
    return parser.parse_args(namespace=_Options())


def _lay(made: Lab) -> Hosts:
    hosts = Hosts(made.host("server"), made.host("left"), made.host("right"))
    made.cable((hosts.server, "clients", f"{LISTENER}/24"), (hosts.left, "eth0", f"{CLIENT}/24"))
    made.cable((hosts.server, "peers", f"{RELAY}/24"), (hosts.right, "eth0", f"{PEER}/24"))
    made.cable((hosts.left, "eth1", "10.3.0.1/24"), (hosts.right, "eth1", "10.3.0.2/24"))
    for far in (hosts.left, hosts.right):
        # As packets come from a wire: with their checksums.
        run(far, "ethtool", "-K", "eth0", "tx", "off")
        run(far, "ethtool", "-K", "eth1", "tx", "off")
    return hosts


@contextlib.contextmanager
def _far_ends(hosts: Hosts) -> Iterator[None]:
    """Have a program at the far ends, as cables of drivers want it; the same for all servers."""
    relay = KernelRelay.load(TableSizes(2, 2, 2))
    links = []
    try:
        for far in (hosts.left, hosts.right):
            with inside(far):
                links.append(relay.passing.attach(socket.if_nametoindex("eth0"), _XDP_NATIVE))
        yield
    finally:
        for link in links:
            link.close()
        relay.close()


@contextlib.contextmanager
def _serving(name: str, hosts: Hosts, directory: Path) -> Iterator[CabledServer]:
    command = _coturn(directory) if name == "coturn" else _natkit(name, directory)
    pinned = ["taskset", "--cpu-list", str(SERVER_PROCESSOR), *command]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*hosts.server.prefix, *pinned],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=_ENVIRONMENT,
        )
    address = Address(LISTENER, PORT)
    server = CabledServer(name, "", address, address, process.pid, hosts)
    try:
        _wait(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: CabledServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + PATIENCE
    with server.client().socket as probe:
        probe.settimeout(0.2)
        while monotonic() < deadline and process.poll() is None:
            try:
                probe.send(bytes.fromhex("000100002112a442") + os.urandom(12))
                probe.recv(2048)
            except OSError:
                sleep(0.05)
            else:
                return
    raise BenchmarkError(f"{server.name} does not answer; it said:\n{log.read_text()}")


def _natkit(name: str, directory: Path) -> Sequence[str]:
    plane = name.partition(",")[0]
    configuration = directory / "stun-server.toml"
    configuration.write_text(
        f"""
        [listeners]
        listen = ["{LISTENER}:{PORT}"]
        relay_ipv4 = "{RELAY}"
        relay_plane = "{plane}"
        [users]
        realm = "{REALM}"
        passwords = {{ {USERNAME} = "{PASSWORD}" }}
        [policy]
        allow_peer = ["10.0.0.0/8"]
        [limits]
        allocations = 10000
        allocations_per_user = 10000
        packets_per_source = 10000000
        """
    )
    program = (_NATIVE if name.endswith("native") else "") + _RUN
    return (
        *(sys.executable, "-c", program),
        *(f"--config={configuration}", f"--data-dir={directory}"),
    )


def _coturn(directory: Path) -> Sequence[str]:
    program = shutil.which("turnserver")
    if program is None:
        raise BenchmarkError("turnserver is not installed: apt-get install coturn")
    return (
        *(program, "-n", f"--listening-ip={LISTENER}", f"--relay-ip={RELAY}"),
        *(f"--listening-port={PORT}", "--relay-threads=1", "--lt-cred-mech"),
        *(f"--user={USERNAME}:{PASSWORD}", f"--realm={REALM}", "--no-cli", "--log-file=stdout"),
        *(f"--pidfile={directory / 'turnserver.pid'}", f"--userdb={directory / 'turndb'}"),
        *("--allow-loopback-peers", "--no-tls", "--no-dtls"),
    )


def _direct(hosts: Hosts, pump: Path, seconds: float) -> float:
    """Microseconds of CPU for a packet that nobody relays."""
    with inside(hosts.left):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(hosts.right):
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with client, peer, control, its_end:
        client.bind(("10.3.0.1", 0))
        peer.bind(("10.3.0.2", 0))
        client.connect(peer.getsockname())
        ends = [each.fileno() for each in (client, peer, its_end)]
        command = ["taskset", "--cpu-list", str(LOAD_PROCESSOR), str(pump), str(seconds)]
        command += [str(WINDOW), str(SIZE), "", "udp", "udp", str(SIZE), str(ends[2])]
        command.append(f"{ends[0]}:{ends[1]}")
        with subprocess.Popen(command, pass_fds=ends, stdout=subprocess.PIPE) as process:
            busy = machine_seconds()
            control.send(bytes(2))
            output, _ = process.communicate()
            busy = machine_seconds() - busy
    received: int = json.loads(output)["received"]
    return busy * 1e6 / received


def _show(found: dict[str, dict[str, list[Packets]]], direct: list[float]) -> None:
    load_alone = statistics.median(direct)
    print(f"direct: {load_alone:.2f} µs a packet ({len(direct)} rounds)")
    for load in LOADS:
        print(load.title)
        for name in SERVERS:
            results = found[name][load.title]
            machine = statistics.median(each.machine_microseconds for each in results)
            rate = statistics.median(each.packets_per_second for each in results)
            lost = statistics.median(each.lost for each in results)
            print(
                f"  {name:16} {machine:6.2f} µs, less the load {machine - load_alone:6.2f} µs, "
                f"{rate / 1000:7.0f} k packets/s, lost {lost:.2%}"
            )
    print(
        json.dumps(
            {
                "direct": direct,
                "servers": {
                    name: {title: [asdict(each) for each in runs] for title, runs in loads.items()}
                    for name, loads in found.items()
                },
            }
        )
    )


if __name__ == "__main__":
    sys.exit(main())
