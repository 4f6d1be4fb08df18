"""`make run`, as a newcomer uses it.  Needs the environment that make sets up."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from natkit.address import Address
from tests.peering.binding_probe import answers_binding
from tests.peering.ports import free_port
from tests.peering.process import PeerProcess
from tests.project.tree import ROOT

OUTER_MAKE = [f"--unset={name}" for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")]
"""What `make test` puts into the environment; a newcomer's shell has none of it."""
MAKE_RUN = ["env", *OUTER_MAKE, "make", "-C", str(ROOT), "--no-print-directory", "run"]
TEST_COMMAND = re.compile(r"(\S*natkit turn .+?)\s*$", re.MULTILINE)


@pytest.fixture(autouse=True)
def installed() -> None:
    if not list((ROOT / ".venv").glob("installed-*")):
        pytest.skip("natkit is not installed in .venv; `make test` installs it")


@pytest.fixture
def address() -> Address:
    return Address("127.0.0.1", free_port("127.0.0.1"))


@pytest.fixture
def served(address: Address, tmp_path: Path) -> Iterator[PeerProcess]:
    """A running `make run`, in a process group of its own, as a terminal has it."""
    process = PeerProcess("make run", ["setsid", *MAKE_RUN, f"PORT={address.port}"], tmp_path)
    try:
        process.wait_until(lambda: answers_binding(address))
        yield process
    finally:
        process.stop()


def test_the_uris_are_shown_and_the_command_shown_tests_the_server(
    served: PeerProcess, address: Address
) -> None:
    shown = served.log()
    assert f"stun:{address}" in shown
    assert f"turn:{address}" in shown
    (command,) = TEST_COMMAND.findall(shown)
    tested = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_status_page_that_is_shown_is_there(served: PeerProcess) -> None:
    (url,) = re.findall(r"status page\s+(http://127\.0\.0\.1:\d+/)", served.log())
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert b"stun-server" in answer.read()


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_it_leaves_cleanly(served: PeerProcess, address: Address, ended_by: signal.Signals) -> None:
    if ended_by is signal.SIGINT:
        os.killpg(served.pid, ended_by)  # what a terminal does on Ctrl-C
    else:
        os.kill(served.pid, ended_by)
    # make ends by the signal too, and says so only when its recipe ended with an error.
    assert served.wait() == -ended_by
    assert not answers_binding(address)
    for unwanted in ("***", "Traceback", "error"):
        assert unwanted not in served.log()


def test_a_busy_port_is_one_line_and_status_2(address: Address) -> None:
    with socket.create_server(address):
        done = subprocess.run(
            [*MAKE_RUN, f"PORT={address.port}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    error, of_make = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert str(address) in error
    assert of_make.startswith("make: ***")
