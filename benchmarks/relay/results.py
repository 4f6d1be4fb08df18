"""The figures of one run, and how they are kept: benchmarks/results/relay-COMMIT.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.page import Bar
from benchmarks.relay.scenarios import LOADS, Allocating, Packets

SCHEMA = 1
SERVERS = ("natkit", "coturn")


@dataclass(slots=True)
class Results:
    """What every round gave; lists have one entry a round, by server and by the load's title."""

    commit: str
    date: str
    machine: str
    python: str
    versions: dict[str, str]
    seconds: float
    window: int
    allocations: int
    packets: dict[str, dict[str, list[Packets]]] = field(default_factory=dict)
    bytes_per_allocation: dict[str, list[float]] = field(default_factory=dict)
    allocating: dict[str, list[Allocating]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How often everything was measured."""
        return len(self.allocating[SERVERS[0]])

    def keep(self, directory: Path) -> Path:
        """Write the file, over an earlier one of the same commit."""
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / f"relay-{self.commit}.json"
        content = {"schema": SCHEMA, "benchmark": "relay", **asdict(self)}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return file

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read what :meth:`keep` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content.pop("benchmark") != "relay":
            raise ValueError(f"{file} is no result of this benchmark")
        content["packets"] = {
            server: {title: [Packets(**each) for each in rounds] for title, rounds in loads.items()}
            for server, loads in content["packets"].items()
        }
        content["allocating"] = {
            server: [Allocating(**each) for each in rounds]
            for server, rounds in content["allocating"].items()
        }
        return cls(**content)


def middle_packets(rounds: Sequence[Packets]) -> Packets:
    """The median of each figure."""
    return Packets(
        median(each.packets_per_second for each in rounds),
        median(each.server_microseconds for each in rounds),
        median(each.machine_microseconds for each in rounds),
        median(each.lost for each in rounds),
    )


def middle_allocating(rounds: Sequence[Allocating]) -> Allocating:
    """The median of each figure."""
    return Allocating(
        median(each.one_by_one_per_second for each in rounds),
        median(each.together_per_second for each in rounds),
        median(each.server_microseconds for each in rounds),
    )


def bars(results: Results) -> tuple[Bar, ...]:
    """The bars, each by its worst load."""

    def worst(*kinds: str) -> float:
        ours, theirs = (results.packets[server] for server in SERVERS)
        return max(
            middle_packets(ours[load.title]).server_microseconds
            / middle_packets(theirs[load.title]).server_microseconds
            for load in LOADS
            if load.kind in kinds
        )

    ours, theirs = (middle_allocating(results.allocating[server]) for server in SERVERS)
    return (
        Bar("ChannelData: worst CPU a packet as a multiple of coturn's", worst("up", "down"), 1.6),
        Bar("Binding: worst CPU a packet as a multiple of coturn's", worst("binding"), 0.9),
        Bar("memory an allocation, KB", median(results.bytes_per_allocation["natkit"]) / 1000, 22),
        Bar(
            "allocations a second as a multiple of coturn's",
            ours.one_by_one_per_second / theirs.one_by_one_per_second,
            1.0,
            at_least=True,
        ),
    )
