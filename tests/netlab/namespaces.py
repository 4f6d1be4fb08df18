"""Network namespaces: hosts of a network that exists for one test, joined by virtual cables.

Nothing in them leads out of them: no packet can leave the machine, and none can come in.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.netlab import forwarder
from tests.netlab.forwarder import Weather
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


def run(host: Host, program: str, *arguments: str, text: str = "") -> str:
    """Run a program on a host, with ``text`` as its input; what it printed."""
    found = program_path(program)
    if found is None:
        raise PeerFailed(f"{program} is not installed")
    done = subprocess.run(
        [*host.prefix, found, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


End = tuple[Host, str, str]
"""An end of a cable: a host, the interface there, and its addresses separated by spaces."""


class Lab:
    """Makes hosts, and removes them in the end with all that hangs on them."""

    def __init__(self) -> None:
        self._hosts: list[Host] = []
        self._ends = ExitStack()

    def host(self, name: str) -> Host:
        """A new host that is connected to nothing."""
        host = Host(f"natkit-{os.getpid()}-{next(_numbers)}-{name}")
        ip("netns", "add", host.namespace)
        self._hosts.append(host)
        host.configure("link", "set", "lo", "up")
        return host

    def cable(self, one: End, other: End, weather: Weather | None = None) -> None:
        """Join two hosts, by a line that is slow or loses packets where there is ``weather``."""
        if weather is None:
            ip(
                *("link", "add", one[1], "netns", one[0].namespace, "type", "veth"),
                *("peer", "name", other[1], "netns", other[0].namespace),
            )
        else:
            self._lay(one, other, weather)
        for host, interface, addresses in (one, other):
            for address in addresses.split():
                # Without it an IPv6 address is of no use for its first seconds.
                flags = ("nodad",) if ":" in address else ()
                host.configure("address", "add", address, "dev", interface, *flags)
            host.configure("link", "set", interface, "up")

    def _lay(self, one: End, other: End, weather: Weather) -> None:
        line = self.host("line")
        process = subprocess.Popen(
            [*line.prefix, sys.executable, forwarder.__file__, "one", "other", *weather.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self._ends.enter_context(process)
        self._ends.callback(process.kill)
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise PeerFailed("the line between two hosts could not be laid")
        for device, (host, interface, _) in (("one", one), ("other", other)):
            line.configure("link", "set", device, "netns", host.namespace, "name", interface)

    def at_the_end(self, do: Callable[[], None]) -> None:
        """Do this before hosts are removed: stop what runs on them."""
        self._ends.callback(do)

    def remove(self) -> None:
        """Remove every host; cables go with their ends."""
        self._ends.close()
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
