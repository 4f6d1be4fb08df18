"""``stun-server`` as a child process: started, watched by its own log, stopped."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.server_process import LIMIT, Line, ServerProcess
from tests.stun_server.place import PREFIX, SERVER

__all__ = [
    "LIMIT",
    "PASSWORD",
    "PLANE",
    "PLANE_VARIABLE",
    "USER",
    "Line",
    "StunServerProcess",
    "stun_server",
]

USER = "user"
PASSWORD = "secret"
PLANE_VARIABLE = "RELAY_PLANE"
PLANE = os.environ.get(PLANE_VARIABLE, "userspace")
"""What relays where a test does not choose: tests of the whole server hold for every plane."""


class StunServerProcess(ServerProcess):
    """A running server."""

    module = "stun_server.cli"


@contextmanager
def stun_server(
    directory: Path, *arguments: str, prefix: Sequence[str] = PREFIX
) -> Iterator[StunServerProcess]:
    """A server that is ready, with ``USER``; without a --listen of yours where :mod:`place` says.

    ``prefix`` is a command that runs it somewhere else.
    """
    listen = () if "--listen" in arguments else ("--listen", f"{SERVER}:0")
    plane = () if "--relay-plane" in arguments else ("--relay-plane", PLANE)
    started = StunServerProcess(
        directory,
        *("--user", f"{USER}:{PASSWORD}", "--data-dir", str(directory / "state"), "--log-json"),
        *listen,
        *plane,
        *arguments,
        prefix=prefix,
    )
    try:
        started.wait_until(lambda: started.lines("ready"))
        yield started
        assert started.stop() == 0, started.log
        assert not started.lines("internal error"), started.log
    finally:
        started.kill()
