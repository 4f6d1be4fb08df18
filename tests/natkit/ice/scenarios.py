"""Random meetings of two agents, each made of one seed, and what must come of them."""

from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Final

from natkit.ice.events import Failed, IceState, RestartNeeded
from natkit.ice.settings import IceSettings
from tests.natkit.ice.theory import meet_directly
from tests.natkit.ice.world import Peer, Signalling, World
from tests.simnet import Conditions, Dependence, LimitReached, Nat, NatBehaviour, PortAssignment

OPEN: Final = (Dependence.ENDPOINT_INDEPENDENT, Dependence.ENDPOINT_INDEPENDENT)
BEHAVIOURS: Final = tuple(Dependence)


class Kind(Enum):
    """What is special about a meeting."""

    PLAIN = auto()
    BOTH_CONTROLLING = auto()
    BOTH_CONTROLLED = auto()
    LATE = auto()
    """Descriptions come late, candidates late, in any order, and all of it twice."""
    RESTART = auto()
    """One side or both restart before or after they have selected a pair."""
    DYING = auto()
    """The NATs forget everything once a pair is in use."""
    LITE = auto()
    """The left agent is lite, on a public address."""
    STREAMS = auto()


class Outcome(Enum):
    AGREED = auto()
    NO_PATH = auto()
    """There is none, and both say so."""
    MISSED = auto()
    """There is a path, and it was not found."""
    TWO_PAIRS = auto()


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that is random about one meeting."""

    seed: int
    kind: Kind
    left: tuple[Dependence, Dependence] | None
    right: tuple[Dependence, Dependence] | None
    relays: tuple[bool, bool]
    loss: float
    conditions: Conditions

    @property
    def has_path(self) -> bool:
        return any(self.relays) or meet_directly(self.left or OPEN, self.right or OPEN)


def scenario(seed: int, *, least_loss: float = 0.0, most_loss: float = 0.1) -> Scenario:
    """The meeting of a seed; its loss, each way, is between the two."""
    chance = Random(f"scenario {seed}")
    kind = chance.choice(list(Kind))

    def nat() -> tuple[Dependence, Dependence] | None:
        if chance.random() < 0.1:
            return None
        return chance.choice(BEHAVIOURS), chance.choice(BEHAVIOURS)

    left, right = nat(), nat()
    if kind is Kind.LITE:
        left = None
    loss = chance.uniform(least_loss, most_loss)
    # Each way crosses the links of both hosts.
    per_link = 1 - (1 - loss) ** 0.5
    conditions = Conditions(
        loss=per_link,
        delay=chance.choice((0.002, 0.02, 0.1, 0.24)),
        jitter=chance.choice((0.0, 0.01)),
        reordering=chance.choice((0.0, 0.0, 0.1)),
        duplication=chance.choice((0.0, 0.0, 0.05)),
    )
    relays = chance.random() < 0.5, chance.random() < 0.5
    if kind is Kind.LITE:
        relays = False, relays[1]
    return Scenario(seed, kind, left, right, relays, loss, conditions)


class Meeting:
    """One scenario, run."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.chance = Random(f"meeting {scenario.seed}")
        self.world = World(scenario.seed)
        self.nats: list[Nat] = []
        kind = scenario.kind
        late = kind is Kind.LATE
        self.signalling = Signalling(
            delay=self.chance.uniform(0.0, 0.5),
            jitter=3.0 if late else 0.1,
            twice=late,
        )
        self.left = self._peer("left", scenario.left, 1, scenario.relays[0])
        self.right = self._peer("right", scenario.right, 2, scenario.relays[1])

    def _settings(self, name: str) -> IceSettings:
        kind = self.scenario.kind
        controlling = name == "left"
        if kind is Kind.BOTH_CONTROLLING:
            controlling = True
        elif kind is Kind.BOTH_CONTROLLED:
            controlling = False
        return IceSettings(controlling=controlling, lite=kind is Kind.LITE and name == "left")

    def _peer(
        self,
        name: str,
        behaviour: tuple[Dependence, Dependence] | None,
        number: int,
        relay: bool,
    ) -> Peer:
        nat = None
        if behaviour is not None:
            nat = self.world.network.nat(
                f"nat {name}",
                f"198.51.100.{number}",
                behaviour=NatBehaviour(
                    mapping=behaviour[0], filtering=behaviour[1], ports=PortAssignment.RANDOM
                ),
            )
            self.nats.append(nat)
        streams = self.scenario.kind is Kind.STREAMS
        peer = self.world.peer(
            name,
            f"192.0.2.{number}" if nat is None else f"192.168.{number}.2",
            settings=self._settings(name),
            behind=nat,
            link=self.scenario.conditions,
            stun=self.scenario.kind is not Kind.LITE or name != "left",
            relay=relay,
            streams=2 if streams else 1,
            components=2 if streams else 1,
            signalling=self.signalling,
        )
        peer.restarts_on_loss = True
        return peer

    def run(self) -> Outcome:
        """Let them meet, and judge."""
        world, left, right = self.world, self.left, self.right
        if self.scenario.kind is Kind.RESTART:
            for peer in self.chance.sample((left, right), self.chance.choice((1, 2))):
                world.network.after(self.chance.uniform(0.0, 4.0), peer.restart)
        world.meet(left, right)
        if self.scenario.kind is Kind.RESTART:
            world.network.run_for(4.1)
        outcome = self._settle(120.0)
        if outcome is Outcome.AGREED and self.scenario.kind is Kind.DYING and self.nats:
            return self._die()
        return outcome

    def _settle(self, limit: float) -> Outcome:
        """Until both agree, or one fails; consent that is lost on a bad line is no end."""
        for _ in range(4):
            outcome = self._settle_once(limit)
            lost = not (self.left.is_completed and self.right.is_completed)
            if outcome is not Outcome.TWO_PAIRS or not lost:
                break
        return outcome

    def _settle_once(self, limit: float) -> Outcome:
        def over() -> bool:
            states = {self.left.agent.state, self.right.agent.state}
            return states == {IceState.COMPLETED} or (
                IceState.FAILED in states
                and not states & {IceState.CHECKING, IceState.NEW, IceState.DISCONNECTED}
            )

        try:
            self.world.network.run_until(over, limit)
        except LimitReached:
            return self._without_agreement()
        if not (self.left.is_completed and self.right.is_completed):
            return self._without_agreement()
        # A nomination may still be on its way.
        self.world.network.run_for(1.0)
        for stream in range(self.left.streams):
            for component in range(1, self.left.components + 1):
                if not self.world.data_agrees(self.left, self.right, component, stream):
                    return Outcome.TWO_PAIRS
        return Outcome.AGREED

    def _without_agreement(self) -> Outcome:
        if self.scenario.has_path:
            return Outcome.MISSED
        told = [
            any(isinstance(event, Failed) for event in peer.shell.events)
            for peer in (self.left, self.right)
            if not peer.agent.settings.lite
        ]
        return Outcome.NO_PATH if all(told) else Outcome.MISSED

    def _die(self) -> Outcome:
        for nat in self.nats:
            nat.reboot()
        for peer in (self.left, self.right):
            peer.shell.take(RestartNeeded)
        # Either the pair survives, or consent ends within 30 s and a restart follows.
        for peer in (self.left, self.right):
            self.world.network.after(31.0, partial(self._gather_again, peer))
        self.world.network.run_for(45.0)
        return self._settle(120.0)

    def _gather_again(self, peer: Peer) -> None:
        peer.shell.call(peer.gatherer.gather_again)
        peer.poll_again()
