"""The figures of one run, and how they are kept: benchmarks/results/locate-COMMIT.json."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.keeping import keep
from benchmarks.locate.zones import KINDS
from benchmarks.page import Bar

__all__ = ["SCHEMA", "Cold", "Results", "bars"]

SCHEMA: Final = 1
MOST_OVER: Final = 1.1
"""A cold lookup may take a tenth more than its round trips."""
FEWEST_WARM: Final = 20_000.0


@dataclass(slots=True)
class Cold:
    """Lookups of one kind of zone of which nothing was known; an entry for each domain."""

    rounds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    sip_dig_seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Results:
    """What was measured; ``cold`` is by the title of the kind of zone."""

    commit: str
    date: str
    machine: str
    python: str
    sip_dig: str
    delay: float
    real_time: bool
    cold: dict[str, Cold] = field(default_factory=dict)
    warm_per_cpu_second: list[float] = field(default_factory=list)
    warm_domains: int = 0
    explained_per_cpu_second: list[float] = field(default_factory=list)
    cold_per_cpu_second: list[float] = field(default_factory=list)
    cached_names: int = 0
    cached_bytes: list[int] = field(default_factory=list)

    def keep(self, directory: Path) -> Path:
        """Write the file, over an earlier one of the same commit."""
        return keep(directory / f"locate-{self.commit}.json", "locate", SCHEMA, asdict(self))

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read what :meth:`keep` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content.pop("benchmark") != "locate":
            raise ValueError(f"{file} is no result of this benchmark")
        content["cold"] = {title: Cold(**each) for title, each in content["cold"].items()}
        return cls(**content)


def _round_trips(number: int) -> str:
    return "1 round trip" if number == 1 else f"{number} round trips"


def bars(results: Results) -> tuple[Bar, ...]:
    """The bars; those of cold lookups by the median of each kind."""
    cold = [
        Bar(
            f"{kind.title}: time as a multiple of {_round_trips(kind.rounds)}",
            median(results.cold[kind.title].seconds) / (kind.rounds * results.delay),
            MOST_OVER,
        )
        for kind in KINDS
    ]
    warm = median(results.warm_per_cpu_second)
    return (
        *cold,
        Bar("warm lookups a second of one processor", warm, FEWEST_WARM, at_least=True),
    )
