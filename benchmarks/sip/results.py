"""The figures of one run, and the bars that they must reach."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.keeping import Figures
from benchmarks.page import Bar
from benchmarks.sip.loads import Load

__all__ = ["KAMAILIO", "MEMORY", "NATKIT", "SIPPY", "SQLITE", "Results", "bars"]

NATKIT: Final = "natkit"
KAMAILIO: Final = "Kamailio"
SIPPY: Final = "sippy"
MEMORY: Final = "natkit, memory"
SQLITE: Final = "natkit, SQLite"


@dataclass(slots=True)
class Results(Figures):
    """What was measured, an entry for each round; ``calls`` and ``registrations`` by server.

    ``calls`` have one list for each rate.
    """

    benchmark = "sip"

    python: str
    real_time: bool
    versions: dict[str, str] = field(default_factory=dict)
    calls: dict[str, dict[str, list[Load]]] = field(default_factory=dict)
    registrations: dict[str, list[Load]] = field(default_factory=dict)
    forwarding: list[float] = field(default_factory=list)
    binding: list[float] = field(default_factory=list)
    transaction: list[float] = field(default_factory=list)


def microseconds(loads: Sequence[Load]) -> float:
    """CPU of one, the median of the rounds."""
    return median(load.microseconds for load in loads)


def bars(results: Results) -> tuple[Bar, ...]:
    """The bars, each by the median of the rounds, and no call lost in any."""
    found = [
        Bar(
            f"CPU of a call at {rate} a second, in Kamailio's",
            microseconds(servers[NATKIT]) / microseconds(servers[KAMAILIO]),
            2.5,
        )
        for rate, servers in results.calls.items()
        if KAMAILIO in servers
    ]
    for name in (MEMORY, SQLITE):
        if name in results.registrations:
            a_second = median(load.a_second for load in results.registrations[name])
            found.append(Bar(f"REGISTER a second and core ({name})", a_second, 3000, at_least=True))
    if results.forwarding:
        found.append(
            Bar("parse and forward a 1,000-byte INVITE, µs", median(results.forwarding), 60)
        )
        found.append(Bar("bytes a binding", median(results.binding), 2048))
    ours = [load for servers in results.calls.values() for load in servers[NATKIT]]
    found.append(Bar("calls of ours that failed", float(sum(each.failed for each in ours)), 0))
    return tuple(found)
