"""The two servers under test, each pinned to one processor, on loopback ports of their own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from benchmarks.relay.turn_client import BenchmarkError, Client
from natkit.address import Address
from natkit.machine import Transport

USERNAME = "benchmark"
PASSWORD = "a password for loopback"
REALM = "example.org"
SERVER_PROCESSOR = 0
LOAD_PROCESSOR = 1
PATIENCE = 15.0
# The checkout that the benchmark stands in is what is measured.
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers on ``address``, and for TLS and DTLS on ``secure``."""

    name: str
    version: str
    address: Address
    secure: Address
    pid: int

    def client(self, transport: Transport = Transport.UDP) -> Client:
        """A client of this server."""
        address = self.secure if transport.is_secure else self.address
        return Client(address, USERNAME, PASSWORD, transport)

    def new_peer(self) -> socket.socket:
        """A socket that packets are relayed to and from."""
        return new_peer()


def new_peer() -> socket.socket:
    """A socket on loopback."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


@contextlib.contextmanager
def natkit(directory: Path, allocations: int, workers: int = 1) -> Iterator[RunningServer]:
    """stun-server, relaying in user space."""
    directory.mkdir(exist_ok=True)
    port, secure_port = _free_port(), _free_port()
    certificate, key = make_certificate(directory)
    secure = f"127.0.0.1:{secure_port}"
    configuration = directory / "stun-server.toml"
    configuration.write_text(
        f"""
        [listeners]
        listen = ["127.0.0.1:{port}", "tls:{secure}", "dtls:{secure}"]
        certificate = "{certificate}"
        key = "{key}"
        relay_plane = "userspace"
        workers = {workers}

        [users]
        realm = "{REALM}"
        passwords = {{ {USERNAME} = "{PASSWORD}" }}

        [policy]
        allow_peer = ["127.0.0.0/8"]

        [limits]
        allocations = {allocations}
        allocations_per_user = {allocations}
        packets_per_source = 10000000

        [log]
        level = "warning"
        """
    )
    program = [sys.executable, "-c", "from stun_server.cli import run; run()"]
    command = [*program, f"--config={configuration}", f"--data-dir={directory}"]
    version = first_line([*program, "--version"])
    with _running("natkit", version, command, (port, secure_port), directory) as server:
        yield server


@contextlib.contextmanager
def coturn(directory: Path) -> Iterator[RunningServer]:
    """The turnserver of coturn with one relay thread, which is also what receives."""
    program = shutil.which("turnserver")
    if program is None:
        raise BenchmarkError("turnserver is not installed: apt-get install coturn")
    port, secure_port = _free_port(), _free_port()
    certificate, key = make_certificate(directory)
    command = [
        program,
        "-n",
        "--listening-ip=127.0.0.1",
        "--relay-ip=127.0.0.1",
        f"--listening-port={port}",
        "--relay-threads=1",
        "--lt-cred-mech",
        f"--user={USERNAME}:{PASSWORD}",
        f"--realm={REALM}",
        "--allow-loopback-peers",
        f"--tls-listening-port={secure_port}",
        f"--cert={certificate}",
        f"--pkey={key}",
        "--no-cli",
        "--log-file=stdout",
        f"--pidfile={directory / 'turnserver.pid'}",
        f"--userdb={directory / 'turndb'}",
    ]
    version = first_line([program, "--version"])
    with _running("coturn", version, command, (port, secure_port), directory) as server:
        yield server


@contextlib.contextmanager
def _running(
    name: str, version: str, command: Sequence[str], ports: tuple[int, int], directory: Path
) -> Iterator[RunningServer]:
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(SERVER_PROCESSOR), *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=_ENVIRONMENT,
        )
    plain, secure = (Address("127.0.0.1", port) for port in ports)
    server = RunningServer(name, version, plain, secure, process.pid)
    try:
        _wait_for(server, process, directory / f"{name}.log")
        yield server
    finally:
        # SIGTERM would have ours wait for allocations that a client left behind.
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE)


def _wait_for(server: RunningServer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + PATIENCE
    request = bytes.fromhex("000100002112a442") + os.urandom(12)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(server.address)
        probe.settimeout(0.2)
        while monotonic() < deadline and process.poll() is None:
            try:
                probe.send(request)
                probe.recv(2048)
            except OSError:
                sleep(0.1)
            else:
                return
    raise BenchmarkError(f"{server.name} does not answer; it said:\n{log.read_text()}")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate with its key, both in PEM, that nobody is to trust."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if not certificate.exists():
        command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-keyout", str(key), "-out", str(certificate)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            raise BenchmarkError("openssl is not installed: apt-get install openssl") from None
    return certificate, key


def first_line(command: Sequence[str]) -> str:
    """What a program says first."""
    output = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_ENVIRONMENT
    ).stdout
    return output.strip().partition("\n")[0]


def _free_port() -> int:
    """A port that is free for UDP and TCP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        ):
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port
