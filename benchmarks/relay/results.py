"""The figures of one run, and the bars that they must reach."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.keeping import Figures
from benchmarks.page import Bar
from benchmarks.relay.loads import LOADS, NARROW, WINDOW, Load, Packets
from benchmarks.relay.scenarios import Allocating
from natkit.machine import Transport

SERVERS = ("natkit", "coturn")
WORKERS = 2
SPREAD = f"natkit --workers {WORKERS}"
"""Under this name stand the figures of stun-server with several workers."""


@dataclass(slots=True)
class Results(Figures):
    """What every round gave; lists have one entry a round, by server and by the load's title."""

    benchmark = "relay"

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

    def worst(kinds: Sequence[str], window: int, transport: Transport) -> float:
        def ratio(load: Load) -> float:
            ours, theirs = (middle_packets(results.packets[name][load.title]) for name in SERVERS)
            return ours.server_microseconds / theirs.server_microseconds

        return max(
            ratio(load)
            for load in LOADS
            if load.kind in kinds and (load.window, load.transport) == (window, transport)
        )

    def cost(
        title: str, kinds: Sequence[str], window: int, transport: Transport, limit: float
    ) -> Bar:
        what = f"{title}: worst CPU a packet as a multiple of coturn's"
        return Bar(what, worst(kinds, window, transport), limit)

    channels = ("up", "down")
    ours, theirs = (middle_allocating(results.allocating[server]) for server in SERVERS)
    return (
        cost("ChannelData", channels, WINDOW, Transport.UDP, 1.3),
        cost(f"ChannelData, {NARROW} under way", channels, NARROW, Transport.UDP, 1.5),
        cost("Binding", ("binding",), WINDOW, Transport.UDP, 0.8),
        cost(f"Binding, {NARROW} under way", ("binding",), NARROW, Transport.UDP, 1.2),
        cost("ChannelData over TCP", channels, WINDOW, Transport.TCP, 1.5),
        Bar("memory an allocation, KB", median(results.bytes_per_allocation["natkit"]) / 1000, 16),
        Bar(
            "allocations a second, one after the other, as a multiple of coturn's",
            ours.one_by_one_per_second / theirs.one_by_one_per_second,
            1.5,
            at_least=True,
        ),
        Bar(
            "allocations a second, many at a time, as a multiple of coturn's",
            ours.together_per_second / theirs.together_per_second,
            1.5,
            at_least=True,
        ),
    )
