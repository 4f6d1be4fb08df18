"""Two ICE agents, each behind a NAT of the lab, and what theory says of their path."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Final, cast

from natkit.behaviour.verdict import Peer, Way, way_to
from tests.netlab.namespaces import Lab
from tests.netlab.nats import TRUTH, Behind, Internet, Kind
from tests.netlab.servers import ice_servers

Pair = tuple[Kind, Kind]
PROGRAM: Final = Path(__file__).with_name("ice_peer.py")
KINDS: Final = (
    *(Kind.OPEN, Kind.FULL_CONE, Kind.ADDRESS_RESTRICTED, Kind.PORT_RESTRICTED, Kind.SYMMETRIC),
    *(Kind.NESTED, Kind.UDP_BLOCKED, Kind.FIREWALL_IPV6, Kind.NAT64),
)
IPV6: Final = (Kind.FIREWALL_IPV6, Kind.NAT64)
"""Elsewhere agents gather IPv4 alone, so that it is the NAT that is looked at."""


@dataclass(frozen=True, slots=True)
class Met:
    """How two agents met: whether by a relay, and when the first data was there, in seconds."""

    relayed: bool
    first_data: float


class Peers:
    """Two running programs, which are told of each other."""

    def __init__(self, one: Behind, other: Behind) -> None:
        self._gathered: list[object] = []
        self._processes = [
            self._start(one, "controlling"),
            self._start(other, "controlled"),
        ]

    @staticmethod
    def _start(behind: Behind, role: str) -> "subprocess.Popen[str]":
        families = "both" if behind.kind in IPV6 else "ipv4"
        return subprocess.Popen(
            [
                *(*behind.host.prefix, sys.executable, "-W", "error", str(PROGRAM)),
                *(role, families, *ice_servers(behind)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def gather(self) -> None:
        """Wait until both have."""
        self._gathered = self._lines()

    def introduce(self) -> None:
        """Tell each what the other gathered."""
        if not self._gathered:
            self.gather()
        self._tell(self._gathered)

    def met(self) -> Met:
        """How it went for both; AssertionError when they did not meet."""
        # Nobody leaves before both have heard; who found no path says so in place of it.
        heard = self._lines()
        assert heard == ["heard", "heard"], heard
        self._tell(heard)
        told = [cast("dict[str, object]", each) for each in self._lines()]
        assert [each["data"] for each in told] == ["hello", "hello"]
        relayed = {cast("bool", each["relayed"]) for each in told}
        assert len(relayed) == 1, told
        return Met(relayed.pop(), max(cast("float", each["first_data"]) for each in told))

    def stop(self) -> None:
        """Both, whatever they do."""
        for process in self._processes:
            process.kill()
            process.communicate()

    def _lines(self) -> list[object]:
        lines: list[object] = []
        for process in self._processes:
            assert process.stdout is not None
            lines.append(json.loads(process.stdout.readline()))
        return lines

    def _tell(self, lines: Sequence[object]) -> None:
        """Each what the other said."""
        for process, line in zip(self._processes, reversed(lines), strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()


@contextmanager
def peers(net: Internet, pairs: Sequence[Pair], theirs: Lab | None = None) -> Iterator[list[Peers]]:
    """Two new hosts for each pair, of this lab, all at once."""
    running: list[Peers] = []
    try:
        for one, other in pairs:
            running.append(Peers(net.behind(one, lab=theirs), net.behind(other, lab=theirs)))
        yield running
    finally:
        for each in running:
            each.stop()


def all_pairs(at_once: int) -> Iterator[tuple[Pair, ...]]:
    """Each two of the kinds, and each with its like, some at a time."""
    pairs = tuple(combinations_with_replacement(KINDS, 2))
    for start in range(0, len(pairs), at_once):
        yield pairs[start : start + at_once]


def theory(one: Kind, other: Kind) -> bool:
    """Whether they need a relay."""
    if one in IPV6 or other in IPV6:
        # Two families meet at a relay alone: addresses behind a NAT64 are not sent to.
        return not (one in IPV6 and other in IPV6)
    return way_to(_peer(one), _peer(other)) is Way.RELAY


def _peer(kind: Kind) -> Peer:
    truth = TRUTH[kind]
    return Peer(kind, truth.mapping, truth.filtering, reaches=kind is not Kind.UDP_BLOCKED)
