"""What is learnt of a NAT keeps flows open through that NAT, and not at much more expense."""

import random
from typing import Final

import pytest

from natkit.behaviour import binding_lifetime
from natkit.keepalive import interval_within
from natkit.machine import Path, Transport
from tests.natkit.behaviour.world import PRIMARY, World
from tests.natkit.keepalive.test_through_nats import Line
from tests.simnet import Dependence, NatBehaviour, PortAssignment

LIFETIMES: Final = (
    11.0,
    15.0,
    20.0,
    29.0,
    30.0,
    42.0,
    60.0,
    65.0,
    90.0,
    120.0,
    180.0,
    300.0,
    600.0,
)
LOSSES: Final = (0.0, 0.1)
NATS: Final = [
    (mapping, filtering, ports)
    for mapping in Dependence
    for filtering in Dependence
    for ports in (PortAssignment.PRESERVED, PortAssignment.RANDOM)
]


def learn(behaviour: NatBehaviour, *, seed: int, loss: float) -> float:
    """The bound by which flows through such a NAT are kept."""
    world = World(behaviour, seed=seed, loss=loss)
    with world.network:
        script = binding_lifetime(world.local, PRIMARY, shortest=10, longest=900, limit=20_000)
        found = world.find(script, limit=100_000.0)
    assert found.works, found
    assert found.survived
    return interval_within(found.survived)


@pytest.mark.parametrize("lifetime", LIFETIMES)
@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_between_half_and_95_percent_of_the_lifetime(lifetime: float, loss: float) -> None:
    chance = random.Random(f"{lifetime} {loss}")
    for mapping, filtering, ports in chance.sample(NATS, 4):
        behaviour = NatBehaviour(
            mapping=mapping, filtering=filtering, ports=ports, lifetime=lifetime
        )
        bound = learn(behaviour, seed=chance.randrange(1 << 30), loss=loss)
        assert 0.5 * lifetime <= bound <= 0.95 * lifetime, behaviour


@pytest.mark.parametrize(("mapping", "filtering", "ports"), NATS)
def test_every_kind_of_nat_is_learnt(
    mapping: Dependence, filtering: Dependence, ports: PortAssignment
) -> None:
    behaviour = NatBehaviour(mapping=mapping, filtering=filtering, ports=ports, lifetime=47.0)
    assert 23.5 <= learn(behaviour, seed=7, loss=0.0) <= 44.6


@pytest.mark.parametrize("lifetime", [15.0, 33.0, 65.0])
def test_a_flow_that_is_kept_by_it_is_reached_after_nine_lifetimes(lifetime: float) -> None:
    behaviour = NatBehaviour(
        filtering=Dependence.ADDRESS_AND_PORT_DEPENDENT,
        ports=PortAssignment.RANDOM,
        lifetime=lifetime,
    )
    bound = learn(behaviour, seed=3, loss=0.0)
    line = Line(behaviour, seed=4)
    with line.network:
        line.keep(bound)
        line.network.run_for(9 * lifetime)
        assert line.is_reached()
        assert line.path == Path(Transport.UDP, line.local, line.remote)
