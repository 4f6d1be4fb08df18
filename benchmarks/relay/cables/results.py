"""The figures of one run, and the bars that they must reach."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.keeping import Figures
from benchmarks.page import Bar
from benchmarks.relay.cables.bounds import ratio, upper_bound
from benchmarks.relay.cables.entries import Entries
from benchmarks.relay.cables.loads import LOADS, Burden, Delay, Load
from benchmarks.relay.cables.plain import DIRECT, UNFINISHED_DIRECT
from benchmarks.relay.cables.servers import COTURN, KERNEL, UNFINISHED, UNFINISHED_COTURN, USERSPACE

__all__ = ["Results", "bars", "middle_delay"]

_UNFINISHED = (UNFINISHED, UNFINISHED_COTURN)

Series = dict[str, dict[str, list[Burden]]]


@dataclass(slots=True)
class Results(Figures):
    """What every round gave: a list of them by server or reference, and by the load's title.

    ``own`` is nanoseconds of a run of the kernel's program.
    """

    benchmark = "cables"

    real_time: bool
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    burdens: Series = field(default_factory=dict)
    delays: dict[str, dict[str, list[Delay]]] = field(default_factory=dict)
    own: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    entries: Entries | None = None

    @property
    def rounds(self) -> int:
        """How often everything was measured."""
        return len(self.burdens[COTURN][LOADS[0].title])

    def added(self, name: str, load: Load, to: str | None = None) -> list[float]:
        """Microseconds of CPU that a packet cost in each round, less those of the load alone.

        Or, ``to`` another reference, less those of that.
        """
        if to is None:
            to = UNFINISHED_DIRECT if name in _UNFINISHED else DIRECT
        return [
            burden.machine_microseconds - alone.machine_microseconds
            for burden, alone in zip(
                self.burdens[name][load.title], self.burdens[to][load.title], strict=True
            )
        ]

    def bound(self, name: str, load: Load) -> float:
        """The upper 95 % bound of that as a multiple of coturn's."""
        return upper_bound(tuple(self.added(name, load)), self._of_coturn(name, load))

    def ratio(self, name: str, load: Load) -> float:
        """That as a multiple of coturn's."""
        return ratio(tuple(self.added(name, load)), self._of_coturn(name, load))

    def _of_coturn(self, name: str, load: Load) -> tuple[float, ...]:
        """What coturn added on such cables."""
        coturn = UNFINISHED_COTURN if name in _UNFINISHED else COTURN
        return tuple(self.added(coturn, load))

    def rate(self, name: str, load: Load) -> float:
        """Packets a second."""
        return median(each.packets_per_second for each in self.burdens[name][load.title])

    def lost(self, name: str, load: Load) -> float:
        """The worst round's share of lost packets."""
        return max(each.lost for each in self.burdens[name][load.title])


def middle_delay(rounds: Sequence[Delay]) -> Delay:
    """The median of each figure."""
    return Delay(median(each.middle for each in rounds), median(each.slow for each in rounds))


def bars(results: Results) -> tuple[Bar, ...]:
    """The bars, each by the bound of its worst load."""

    def worst(name: str, loads: Iterable[Load]) -> float:
        return max(results.bound(name, load) for load in loads)

    bindings = [load for load in LOADS if load.kind == "binding"]
    relayed = [load for load in LOADS if load.kind != "binding"]
    few = [load for load in relayed if load.clients == 4]
    many = [load for load in relayed if load.clients == 64]
    return (
        Bar("kernel: CPU of a relayed packet, in coturn's", worst(KERNEL, relayed), 0.1),
        Bar("kernel: CPU of a Binding, in coturn's", worst(KERNEL, bindings), 0.125),
        Bar("user space: a relayed packet of 4 allocations", worst(USERSPACE, few), 1.1),
        Bar("user space: a relayed packet of 64 allocations", worst(USERSPACE, many), 1.25),
        Bar("user space: a Binding", worst(USERSPACE, bindings), 0.7),
    )
