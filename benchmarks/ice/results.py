"""The figures of one run, and the bars that they must reach."""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.ice.meeting import Meeting
from benchmarks.ice.thousand import Crowd
from benchmarks.keeping import Figures
from benchmarks.page import Bar

__all__ = ["Results", "bars"]

MOST_BYTES: Final = 60.0
MOST_TRANSACTIONS: Final = 200.0


@dataclass(slots=True)
class Results(Figures):
    """What was measured: meetings by scenario and stack, and the crowd."""

    benchmark = "ice"

    python: str
    aioice: str
    libnice: str
    real_time: bool
    meetings: dict[str, dict[str, list[Meeting]]] = field(default_factory=dict)
    crowd: Crowd | None = None

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
