"""Runs tests of the whole server with the server on another host, and its plane on the cable.

::

    python -m tests.netlab.cabled_suite kernel -m pytest tests/peers/test_uclient.py

Everything is in two network namespaces; the command runs where the clients and the peers are, and
tests find the server's by :mod:`tests.stun_server.place`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import lab
from tests.stun_server.place import HOST_VARIABLE
from tests.stun_server.process import PLANE_VARIABLE

__all__ = ["run_cabled", "run_here"]

_SERVER = ("10.1.0.1/24", "fd01::1/64")
_HERE = ("10.1.0.2/24", "fd01::2/64")
_SOURCES = "10.64.0.0/10"


def run_cabled(plane: str, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run Python on the host of clients and peers, and give what it wrote."""
    with lab() as made:
        server, here = made.host("server"), made.host("here")
        made.cable((server, "clients", " ".join(_SERVER)), (here, "eth0", " ".join(_HERE)))
        here.configure("route", "add", "local", _SOURCES, "dev", "lo")
        server.configure("route", "add", _SOURCES, "via", "10.1.0.2")
        with inside(here):
            return _run(arguments, {PLANE_VARIABLE: plane, HOST_VARIABLE: server.namespace})


def run_here(plane: str, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run Python where this process is, for tests that make networks of their own."""
    return _run(arguments, {PLANE_VARIABLE: plane})


def _run(arguments: Sequence[str], more: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    done = run_cabled(sys.argv[1], sys.argv[2:])
    sys.stdout.write(done.stdout)
    sys.exit(done.returncode)
