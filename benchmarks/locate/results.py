"""The figures of one run, and the bars that they must reach."""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.keeping import Figures
from benchmarks.locate.zones import KINDS
from benchmarks.page import Bar

__all__ = ["Cold", "Results", "bars"]

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
class Results(Figures):
    """What was measured; ``cold`` is by the title of the kind of zone."""

    benchmark = "locate"

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
