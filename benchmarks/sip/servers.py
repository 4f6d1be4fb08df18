"""The servers that are measured, each pinned to one processor, on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from benchmarks.checkout import ROOT
from natkit.address import Address

__all__ = [
    "DOMAIN",
    "LOAD_PROCESSOR",
    "BenchmarkError",
    "Server",
    "free_port",
    "kamailio",
    "natkit",
    "sippy",
]

DOMAIN: Final = "example.org"
SERVER_PROCESSOR: Final = 0
LOAD_PROCESSOR: Final = 1
PATIENCE: Final = 15.0

# The checkout that the benchmark stands in is what is measured.
_ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
}

_KAMAILIO = """\
#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=1
disable_tcp=yes
dns=no
rev_dns=no
auto_aliases=no
alias="{domain}"
listen=udp:{address}

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_mode", 0)
modparam("registrar", "max_expires", 7200)

request_route {{
    if (!mf_process_maxfwd_header("70")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("OPTIONS")) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (has_totag()) {{
        loose_route();
        t_relay();
        exit;
    }}
    if (is_method("REGISTER")) {{
        save("location");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) {{ t_relay(); }}
        exit;
    }}
    t_check_trans();
    if (is_method("INVITE")) {{ record_route(); }}
    t_relay();
}}
"""


class BenchmarkError(Exception):
    """What keeps the benchmark from measuring; a line for a person."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers on ``address``."""

    name: str
    version: str
    address: Address
    pid: int


@contextlib.contextmanager
def natkit(directory: Path, *, store: str = "memory") -> Iterator[Server]:
    """sip-proxy, with registrations in memory or in SQLite."""
    directory.mkdir(exist_ok=True)
    address = Address("127.0.0.1", free_port())
    configuration = directory / "sip-proxy.toml"
    configuration.write_text(
        f"""
        domains = ["{DOMAIN}"]
        data_dir = "{directory}"
        [listeners]
        listen = ["udp:{address}"]
        [users]
        authenticate = false
        [registrations]
        store = "{store}"
        [sources]
        messages = 0
        [nat]
        keep_alive = "none"
        [log]
        level = "warning"
        """
    )
    program = [sys.executable, "-c", "from sip_proxy.cli import run; run()"]
    version = _first_line([*program, "--version"])
    command = [*program, f"--config={configuration}"]
    with _running("natkit", version, command, address, directory) as server:
        yield server


@contextlib.contextmanager
def kamailio(directory: Path) -> Iterator[Server]:
    """Kamailio as stateful proxy with Record-Route, and as registrar in memory; one worker."""
    program = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise BenchmarkError("kamailio is not installed: apt-get install kamailio")
    directory.mkdir(exist_ok=True)
    address = Address("127.0.0.1", free_port())
    configuration = directory / "kamailio.cfg"
    configuration.write_text(_KAMAILIO.format(domain=DOMAIN, address=address))
    command = [program, "-DD", "-E", "-m", "256", "-f", str(configuration), "-Y", str(directory)]
    with _running("Kamailio", _first_line([program, "-v"]), command, address, directory) as server:
        yield server


@contextlib.contextmanager
def sippy(directory: Path, callee: Address) -> Iterator[Server]:
    """The B2BUA of sippy, which sends each call to ``callee``: it knows no proxy."""
    try:
        module = import_module("sippy.b2bua_simple")
    except ImportError:
        raise BenchmarkError("sippy is not installed: pip install sippy") from None
    directory.mkdir(exist_ok=True)
    address = Address("127.0.0.1", free_port())
    command = [sys.executable, "-c", f"from {module.__name__} import main_func; main_func()"]
    command += ["-f", "-l", address.host, "-p", str(address.port), "-n", str(callee)]
    command += ["-L", os.devnull]
    with _running("sippy", _sippy_version(), command, address, directory) as server:
        yield server


def free_port() -> int:
    """A port of loopback that is free for UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


@contextlib.contextmanager
def _running(
    name: str, version: str, command: Sequence[str], address: Address, directory: Path
) -> Iterator[Server]:
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(SERVER_PROCESSOR), *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=_ENVIRONMENT,
        )
    try:
        _wait_for(name, address, process, log)
        yield Server(name, version, address, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(name: str, address: Address, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + PATIENCE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        probe.settimeout(0.2)
        number = 0
        while monotonic() < deadline and process.poll() is None:
            number += 1
            try:
                probe.send(_options(address, number))
                probe.recv(4096)
            except OSError:
                sleep(0.1)
            else:
                return
    raise BenchmarkError(f"{name} does not answer; it said:\n{log.read_text(errors='replace')}")


def _options(address: Address, number: int) -> bytes:
    lines = [
        f"OPTIONS sip:{address} SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-ready-{number};rport",
        f"From: <sip:ready@{DOMAIN}>;tag=ready",
        f"To: <sip:{address}>",
        f"Call-ID: ready-{number}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _first_line(command: Sequence[str]) -> str:
    output = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_ENVIRONMENT
    ).stdout
    return output.strip().partition("\n")[0]


def _sippy_version() -> str:
    return f"sippy {metadata.version('sippy')}"
