"""A link: what happens to packets between a node and its realm, each way on its own."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.simnet.packet import Packet
from tests.simnet.simulation import Simulation


class Direction(Enum):
    """Seen from the node: ``UP`` away from it, ``DOWN`` towards it."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How one direction treats packets; probabilities from 0 to 1, times in seconds.

    A packet takes ``delay`` plus up to ``jitter``.  With probability ``reordering`` it is held back
    for ``hold`` more, so that later ones overtake it.  A packet of more than ``mtu`` bytes is lost.
    """

    loss: float = 0.0
    delay: float = 0.010
    jitter: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    hold: float = 0.050
    mtu: int | None = None


class Link:
    """Joins a node to a realm; its conditions may change while packets are on their way."""

    def __init__(self, simulation: Simulation, name: str, conditions: Conditions) -> None:
        self.name = name
        self.up = self.down = conditions
        self.carried = 0
        self.lost = 0
        self._simulation = simulation
        self._random = {way: simulation.random(f"link {name} {way.value}") for way in Direction}
        self._blackouts: list[tuple[float, float]] = []

    def change(self, conditions: Conditions) -> None:
        """New conditions both ways, from now on."""
        self.up = self.down = conditions

    def change_at(self, time: float, conditions: Conditions) -> None:
        """New conditions both ways, from ``time`` on."""
        self._simulation.at(time, lambda: self.change(conditions))

    def black_out(self, start: float, end: float) -> None:
        """Lose every packet that sets out from ``start`` on and before ``end``."""
        self._blackouts.append((start, end))

    def carry(
        self, packet: Packet, direction: Direction, deliver: Callable[[Packet], None]
    ) -> None:
        """Pass ``packet`` to ``deliver`` later, perhaps twice, or lose it."""
        conditions = self.up if direction is Direction.UP else self.down
        source = self._random[direction]
        now = self._simulation.now
        # The draws are the same in number whatever their outcome, so that a change of one
        # condition leaves the fate of the other packets alone.
        lost, doubled, held = source.random(), source.random(), source.random()
        jitters = source.random(), source.random()
        if conditions.mtu is not None and packet.size > conditions.mtu:
            self._lose(packet, direction, "too big")
            return
        if any(start <= now < end for start, end in self._blackouts):
            self._lose(packet, direction, "blackout")
            return
        if lost < conditions.loss:
            self._lose(packet, direction, "lost")
            return
        delay = conditions.delay + (conditions.hold if held < conditions.reordering else 0.0)
        copies = 2 if doubled < conditions.duplication else 1
        for jitter in jitters[:copies]:
            self.carried += 1
            self._simulation.after(delay + jitter * conditions.jitter, lambda: deliver(packet))

    def _lose(self, packet: Packet, direction: Direction, why: str) -> None:
        self.lost += 1
        self._simulation.trace.add(
            self._simulation.now, f"{self.name} {direction.value}", why, packet
        )
