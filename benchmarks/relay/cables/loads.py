"""The loads: what is sent by whom, and what it made the machine work."""

import json
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.relay.cables.building import build
from benchmarks.relay.servers import LOAD_PROCESSOR
from benchmarks.relay.turn_client import BenchmarkError
from natkit.address import Address
from natkit.stun.message import Message
from natkit.stun.registry import CHANNEL_FIRST, TRANSACTION_ID_LENGTH, Method

__all__ = [
    "DELAYS",
    "LOADS",
    "MOST",
    "SIZE",
    "WINDOW",
    "Burden",
    "Delay",
    "Ends",
    "Flow",
    "Generator",
    "Load",
    "Report",
]

SIZE = 172
"""Bytes of data: a telephone's 20 ms."""

WINDOW = 128
"""Packets under way at a time."""

_ALONE = 1
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Load:
    """Packets of one kind, of so many clients in turn.

    ``kind`` is binding, up or down (client to peer, peer to client, on a channel).
    """

    kind: str
    clients: int

    @property
    def title(self) -> str:
        """What a table calls it."""
        plural = "s" if self.clients > 1 else ""
        if self.kind == "binding":
            return f"Binding, {self.clients:,} client{plural}"
        to = "peer" if self.kind == "up" else "client"
        return f"to the {to}, {self.clients:,} allocation{plural}"

    @property
    def prefix(self) -> bytes:
        """What each packet begins with."""
        if self.kind == "binding":
            return Message.request(Method.BINDING, bytes(TRANSACTION_ID_LENGTH)).encode()
        if self.kind == "up":
            return CHANNEL_FIRST.to_bytes(2, "big") + SIZE.to_bytes(2, "big")
        return b""

    @property
    def size(self) -> int:
        """Bytes of each packet."""
        return len(self.prefix) + (0 if self.kind == "binding" else SIZE)


MOST = 4_096
LOADS = (
    *(Load("binding", clients) for clients in (1, 64, MOST)),
    *(Load(kind, clients) for kind in ("up", "down") for clients in (1, 4, 64, MOST)),
)
DELAYS = (
    Load("binding", 1),
    *(Load(kind, clients) for kind in ("up", "down") for clients in (1, 64, MOST)),
)
"""Loads under which delays are measured, with one packet under way."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A host that sends, and where to."""

    source: str
    destination: Address

    @property
    def packed(self) -> bytes:
        """As the load generator reads it."""
        port = self.destination.port.to_bytes(2, "big")
        return socket.inet_aton(self.source) + socket.inet_aton(self.destination.host) + port


@dataclass(frozen=True, slots=True)
class Ends:
    """Which flows leave by which socket, and come out at which."""

    flows: Sequence[Flow]
    out: socket.socket
    into: socket.socket


@dataclass(frozen=True, slots=True)
class Burden:
    """What a load made of it; microseconds are of CPU for each packet that arrived."""

    packets_per_second: float
    machine_microseconds: float
    lost: float

    @classmethod
    def of(cls, reports: Sequence["Report"]) -> "Burden":
        """The medians of all slices of some runs.  BenchmarkError where there are none."""
        slices = [each for report in reports for each in report.slices if each[1]]
        if not slices:
            raise BenchmarkError("a load lasts too short to say anything")
        return cls(
            median(received / took for took, received, _ in slices),
            median(busy * 1e6 / received for _, received, busy in slices),
            1 - sum(each.received for each in reports) / sum(each.sent for each in reports),
        )


@dataclass(frozen=True, slots=True)
class Delay:
    """How long packets were under way, in microseconds: half of them less, and all but 1 %."""

    middle: float
    slow: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the load generator says; of each slice its seconds, packets, and seconds of CPU."""

    sent: int
    received: int
    middle: float
    slow: float
    slices: list[tuple[float, int, float]]


class Generator:
    """The load generator, which reads meanwhile how busy the machine is."""

    def __init__(self, directory: Path, idle: Path) -> None:
        self._program = build("load", directory)
        self._flows = directory / "flows"
        self._idle = idle

    def flood(self, load: Load, ends: Ends, seconds: float) -> Report:
        """Send as fast as packets arrive."""
        return self._until_some_arrive(load, ends, seconds, WINDOW)

    def delay(self, load: Load, ends: Ends, seconds: float) -> Delay:
        """Send one packet after the other."""
        report = self._until_some_arrive(load, ends, seconds, _ALONE)
        return Delay(report.middle, report.slow)

    def _until_some_arrive(self, load: Load, ends: Ends, seconds: float, window: int) -> Report:
        """On a machine with other work to do a server may not get to it for a while."""
        for _ in range(_ATTEMPTS):
            report = self._run(load, ends, seconds, window)
            if report.received:
                return report
        raise BenchmarkError(f"nothing came through: {load.title}")

    def _run(self, load: Load, ends: Ends, seconds: float, window: int) -> Report:
        self._flows.write_bytes(b"".join(flow.packed for flow in ends.flows))
        descriptors = (ends.out.fileno(), ends.into.fileno())
        command = ["taskset", "--cpu-list", str(LOAD_PROCESSOR), str(self._program)]
        command += [str(self._flows), str(self._idle), str(seconds), str(window)]
        command += [str(load.size), load.prefix.hex(), *map(str, descriptors)]
        with subprocess.Popen(
            command, pass_fds=descriptors, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if process.returncode or not line:
            raise BenchmarkError(f"the load generator failed: {load.title}")
        return Report(**json.loads(line))
