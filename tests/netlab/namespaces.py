"""Network namespaces: hosts of a network that exists for one test, joined by virtual cables.

Nothing in them leads out of them: no packet can leave the machine, and none can come in.
"""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.peering.process import PeerFailed
from tests.peering.roster import program_path

COMMAND_LIMIT = 30.0
_numbers = itertools.count(1)


def ip(*arguments: str) -> str:
    """Run ``ip`` of iproute2; what it printed."""
    program = program_path("ip")
    if program is None:
        raise PeerFailed("ip is not installed")
    done = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace with its own loopback interface."""

    namespace: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command, so that it runs on this host."""
        program = program_path("ip")
        if program is None:
            raise PeerFailed("ip is not installed")
        return (program, "netns", "exec", self.namespace)

    def configure(self, *arguments: str) -> str:
        """Run ``ip`` on this host."""
        return ip("-n", self.namespace, *arguments)


class Lab:
    """Makes hosts, and removes them in the end with all that hangs on them."""

    def __init__(self) -> None:
        self._hosts: list[Host] = []

    def host(self, name: str) -> Host:
        """A new host that is connected to nothing."""
        host = Host(f"natkit-{os.getpid()}-{next(_numbers)}-{name}")
        ip("netns", "add", host.namespace)
        self._hosts.append(host)
        host.configure("link", "set", "lo", "up")
        return host

    def cable(self, one: tuple[Host, str, str], other: tuple[Host, str, str]) -> None:
        """Join two hosts; an end is a host, its interface, and addresses separated by spaces."""
        ip(
            *("link", "add", one[1], "netns", one[0].namespace, "type", "veth"),
            *("peer", "name", other[1], "netns", other[0].namespace),
        )
        for host, interface, addresses in (one, other):
            for address in addresses.split():
                # Without it an IPv6 address is of no use for its first seconds.
                flags = ("nodad",) if ":" in address else ()
                host.configure("address", "add", address, "dev", interface, *flags)
            host.configure("link", "set", interface, "up")

    def remove(self) -> None:
        """Remove every host; cables go with their ends."""
        while self._hosts:
            ip("netns", "delete", self._hosts.pop().namespace)


@contextmanager
def lab() -> Iterator[Lab]:
    """A lab that leaves nothing behind."""
    made = Lab()
    try:
        yield made
    finally:
        made.remove()
