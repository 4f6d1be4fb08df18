"""The figures of one run, and how they are kept: benchmarks/results/ice-COMMIT.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.ice.meeting import Meeting
from benchmarks.ice.thousand import Crowd
from benchmarks.keeping import keep
from benchmarks.page import Bar

__all__ = ["SCHEMA", "Results", "bars"]

SCHEMA: Final = 1
MOST_BYTES: Final = 60.0
MOST_TRANSACTIONS: Final = 200.0


@dataclass(slots=True)
class Results:
    """What was measured: meetings by scenario and stack, and the crowd."""

    commit: str
    date: str
    machine: str
    python: str
    aioice: str
    libnice: str
    real_time: bool
    meetings: dict[str, dict[str, list[Meeting]]] = field(default_factory=dict)
    crowd: Crowd | None = None

    def keep(self, directory: Path) -> Path:
        """Write the file, over an earlier one of the same commit."""
        return keep(directory / f"ice-{self.commit}.json", "ice", SCHEMA, asdict(self))

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read what :meth:`keep` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content.pop("benchmark") != "ice":
            raise ValueError(f"{file} is no result of this benchmark")
        content["meetings"] = {
            scenario: {stack: [Meeting(**each) for each in found] for stack, found in by.items()}
            for scenario, by in content["meetings"].items()
        }
        if content["crowd"] is not None:
            content["crowd"] = Crowd(**content["crowd"])
        return cls(**content)

    def first_data(self, scenario: str, stack: str) -> float:
        """The median, in seconds."""
        return median(each.first_data for each in self.meetings[scenario][stack])


def bars(results: Results) -> tuple[Bar, ...]:
    """What natkit must reach."""
    found = [
        Bar(
            f"{scenario}: first data, as a multiple of {other}'s time",
            results.first_data(scenario, "natkit") / results.first_data(scenario, other),
            # Half of aioice's where a packet or a server is silent.
            0.5 if other == "aioice" and scenario in ("lossy", "dead") else 1.0,
        )
        for scenario in results.meetings
        for other in ("aioice", "libnice")
    ]
    crowd = results.crowd
    if crowd is not None:
        found += [
            Bar(f"{crowd.agents:,} agents: KiB each", crowd.bytes_an_agent / 1024, MOST_BYTES),
            Bar("transactions begun in the busiest second", crowd.busiest, MOST_TRANSACTIONS),
            Bar("agents that selected no pair", crowd.agents - crowd.completed, 0),
        ]
    return tuple(found)
