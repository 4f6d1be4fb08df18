"""The figures of one run, and the bars that they must reach."""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.keepalive.measure import Measured
from benchmarks.keeping import Figures
from benchmarks.page import Bar

__all__ = ["Results", "bars"]

MOST_BYTES: Final = 2048.0


@dataclass(slots=True)
class Results(Figures):
    """What was measured, an entry for each round."""

    benchmark = "keepalive"

    python: str
    real_time: bool
    flows: int
    simulated: list[Measured] = field(default_factory=list)
    loopback: list[Measured] = field(default_factory=list)


def bars(results: Results) -> tuple[Bar, ...]:
    """The bars: memory by the median of the rounds, and no flow lost in any."""
    lost = sum(each.failed for each in results.simulated + results.loopback)
    return (
        *(
            Bar(f"{title}: bytes a flow", median(each.bytes_a_flow for each in rounds), MOST_BYTES)
            for title, rounds in (
                ("the machine alone", results.simulated),
                ("on sockets", results.loopback),
            )
        ),
        Bar("flows that failed", float(lost), 0.0),
    )
