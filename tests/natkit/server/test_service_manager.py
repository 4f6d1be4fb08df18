"""What a service manager hears, on a socket of the test's own."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.server.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listening(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, socket.socket]]:
    """The address as systemd gives it, and the socket there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "path":
            address = str(tmp_path / "notify")
            sock.bind(address)
        else:
            address = f"@natkit-test-{os.getpid()}"
            sock.bind("\0" + address[1:])
        sock.settimeout(20)
        yield address, sock


def test_it_hears_of_readiness_and_of_the_end(listening: tuple[str, socket.socket]) -> None:
    address, sock = listening
    manager = ServiceManager.of_environment({"NOTIFY_SOCKET": address})
    manager.ready("serving")
    assert sock.recv(1000) == b"READY=1\nSTATUS=serving"
    manager.status("busy")
    assert sock.recv(1000) == b"STATUS=busy"
    manager.stopping("draining", 60.5)
    assert sock.recv(1000) == b"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=60500000"


async def test_the_watchdog_gets_signs_of_life_twice_in_its_time(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        manager = ServiceManager.of_environment(
            {
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "20000",
                "WATCHDOG_PID": str(os.getpid()),
            }
        )
        assert manager.watchdog == 0.02
        async with asyncio.timeout(20), manager.kept_informed():
            for _ in range(3):
                assert await loop.sock_recv(sock, 1000) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "20000"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "many"},
        {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "20000"},
    ],
)
async def test_without_one_nothing_happens(environment: dict[str, str]) -> None:
    manager = ServiceManager.of_environment(environment)
    assert manager.watchdog is None
    async with manager.kept_informed():
        manager.ready("serving")
        manager.stopping("draining", 1.0)
