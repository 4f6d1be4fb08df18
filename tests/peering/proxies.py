"""microsocks and tinyproxy on loopback, with a user."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peering.ports import free_port
from tests.peering.process import PeerProcess

USER: Final = "ann"
PASSWORD: Final = "secret"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy; ``scheme`` is that of its URI."""

    scheme: str
    port: int
    process: PeerProcess

    def uri(self, password: str = PASSWORD) -> str:
        """With who we are."""
        return f"{self.scheme}://{USER}:{password}@{HOST}:{self.port}"


@contextmanager
def microsocks(directory: Path) -> Iterator[RunningProxy]:
    """SOCKS 5 with a password."""
    port = free_port(HOST)
    command = ["microsocks", "-i", HOST, "-p", str(port), "-u", USER, "-P", PASSWORD]
    yield from _running("socks5", port, PeerProcess("microsocks", command, directory))


@contextmanager
def tinyproxy(directory: Path) -> Iterator[RunningProxy]:
    """HTTP CONNECT with Basic authentication."""
    port = free_port(HOST)
    configuration = directory / "tinyproxy.conf"
    configuration.write_text(
        f"Port {port}\nListen {HOST}\nAllow {HOST}\nBasicAuth {USER} {PASSWORD}\n"
        "LogLevel Connect\nTimeout 60\n"
    )
    command = ["tinyproxy", "-d", "-c", str(configuration)]
    yield from _running("http", port, PeerProcess("tinyproxy", command, directory))


def _running(scheme: str, port: int, process: PeerProcess) -> Iterator[RunningProxy]:
    try:
        process.wait_until(lambda: _answers(port))
        yield RunningProxy(scheme, port, process)
    finally:
        process.stop()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False
