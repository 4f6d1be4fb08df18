"""The figures of one run, and how they are kept: benchmarks/results/sip-COMMIT.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.keeping import keep
from benchmarks.page import Bar
from benchmarks.sip.loads import Load

__all__ = ["KAMAILIO", "MEMORY", "NATKIT", "SCHEMA", "SIPPY", "SQLITE", "Results", "bars"]

SCHEMA: Final = 1

NATKIT: Final = "natkit"
KAMAILIO: Final = "Kamailio"
SIPPY: Final = "sippy"
MEMORY: Final = "natkit, memory"
SQLITE: Final = "natkit, SQLite"


@dataclass(slots=True)
class Results:
    """What was measured, an entry for each round; ``calls`` and ``registrations`` by server.

    ``calls`` have one list for each rate.
    """

    commit: str
    date: str
    machine: str
    python: str
    real_time: bool
    versions: dict[str, str] = field(default_factory=dict)
    calls: dict[str, dict[str, list[Load]]] = field(default_factory=dict)
    registrations: dict[str, list[Load]] = field(default_factory=dict)
    forwarding: list[float] = field(default_factory=list)
    binding: list[float] = field(default_factory=list)
    transaction: list[float] = field(default_factory=list)

    def keep(self, directory: Path) -> Path:
        """Write the file, over an earlier one of the same commit."""
        return keep(directory / f"sip-{self.commit}.json", "sip", SCHEMA, asdict(self))

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read what :meth:`keep` wrote."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content.pop("benchmark") != "sip":
            raise ValueError(f"{file} is no result of this benchmark")
        content["calls"] = {
            rate: {name: [Load(**one) for one in loads] for name, loads in servers.items()}
            for rate, servers in content["calls"].items()
        }
        content["registrations"] = {
            name: [Load(**one) for one in loads] for name, loads in content["registrations"].items()
        }
        return cls(**content)


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
