"""The figures of one run, and how they are kept: benchmarks/results/keepalive-COMMIT.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.keepalive.measure import Measured
from benchmarks.keeping import keep
from benchmarks.page import Bar

__all__ = ["SCHEMA", "Results", "bars"]

SCHEMA: Final = 1
MOST_BYTES: Final = 2048.0


@dataclass(slots=True)
class Results:
    """What was measured, an entry for each round."""

    commit: str
    date: str
    machine: str
    python: str
    real_time: bool
    flows: int
    simulated: list[Measured] = field(default_factory=list)
    loopback: list[Measured] = field(default_factory=list)

    def keep(self, directory: Path) -> Path:
        """Write the file, over an earlier one of the same commit."""
        return keep(directory / f"keepalive-{self.commit}.json", "keepalive", SCHEMA, asdict(self))

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read what :meth:`keep` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content.pop("benchmark") != "keepalive":
            raise ValueError(f"{file} is no result of this benchmark")
        for kind in ("simulated", "loopback"):
            content[kind] = [Measured(**each) for each in content[kind]]
        return cls(**content)


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
