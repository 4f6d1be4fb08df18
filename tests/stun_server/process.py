"""``stun-server`` as a child process: started, watched by its own log, stopped."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.server_process import LIMIT, Line, ServerProcess

__all__ = [
    "LIMIT",
    "LOOPBACK_PEERS",
    "PASSWORD",
    "USER",
    "Line",
    "StunServerProcess",
    "stun_server",
]

USER = "user"
PASSWORD = "secret"
PLANE = os.environ.get("RELAY_PLANE", "userspace")
"""What relays where a test does not choose: tests of the whole server hold for every plane."""
LOOPBACK_PEERS = ("--allow-peer", "127.0.0.0/8", "--allow-peer", "::1/128")


class StunServerProcess(ServerProcess):
    """A running server."""

    module = "stun_server.cli"


@contextmanager
def stun_server(
    directory: Path, *arguments: str, prefix: Sequence[str] = ()
) -> Iterator[StunServerProcess]:
    """A server that is ready, with ``USER``; without a --listen of yours on 127.0.0.1.

    ``prefix`` is a command that runs it somewhere else.
    """
    listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
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
