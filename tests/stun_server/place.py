"""Where the server of a test is: on loopback, or on a host of its own at the end of a cable.

Tests, their clients and their peers are *here*.  ``python -m tests.netlab.cabled_suite`` makes the
other host, and runs tests as they are: a plane in the kernel serves loopback only when told to.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from tests.natkit.relay.cabled import inside
from tests.netlab.namespaces import Host

__all__ = [
    "ALLOW_HERE",
    "HERE",
    "HERE_IPV6",
    "HERE_OF",
    "HOST_VARIABLE",
    "IS_CABLED",
    "PREFIX",
    "SERVER",
    "SERVER_IPV6",
    "SOURCES",
    "at_server",
]

HOST_VARIABLE: Final = "SERVER_HOST"
"""Names the namespace of the other host; without it the server is on loopback."""

_host = os.environ.get(HOST_VARIABLE)
IS_CABLED: Final = _host is not None
PREFIX: Final = ("ip", "netns", "exec", _host) if _host is not None else ()
"""What to put before a command, so that it runs where the server is."""
SERVER: Final = "10.1.0.1" if IS_CABLED else "127.0.0.1"
SERVER_IPV6: Final = "fd01::1" if IS_CABLED else "::1"
HERE: Final = "10.1.0.2" if IS_CABLED else "127.0.0.1"
HERE_IPV6: Final = "fd01::2" if IS_CABLED else "::1"
HERE_OF: Final = {SERVER: HERE, SERVER_IPV6: HERE_IPV6}
"""Whom the server sees at each of its addresses."""
SOURCES: Final = "10" if IS_CABLED else "127"
"""What begins many more addresses here; the second octet is from 64 to 127."""
ALLOW_HERE: Final = tuple(
    word
    for network in (("10.0.0.0/8", "fd01::/64") if IS_CABLED else ("127.0.0.0/8", "::1/128"))
    for word in ("--allow-peer", network)
)


def at_server() -> AbstractContextManager[None]:
    """What this thread opens meanwhile is where the server is."""
    return inside(Host(_host)) if _host is not None else nullcontext()
