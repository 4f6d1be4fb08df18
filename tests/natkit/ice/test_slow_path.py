"""A satellite's path: what closes other agents after half a minute leaves ours alone (RFC 7675)."""

from natkit.ice.events import IceState
from tests.natkit.ice.world import World
from tests.simnet import Conditions

HALF_AN_HOUR = 1800.0


def test_a_path_of_0_7_seconds_stays_up_in_spite_of_losses() -> None:
    world = World(7)
    slow = Conditions(delay=0.175, loss=0.02)
    left = world.peer("left", "192.0.2.10", link=slow)
    right = world.peer("right", "198.51.100.10", link=slow)
    world.meet(left, right)
    world.until_completed(left, right)
    assert left.is_completed
    world.network.run_for(HALF_AN_HOUR)
    for peer in (left, right):
        assert peer.agent.state is IceState.COMPLETED
        assert peer.agent.generation == 0
    assert world.data_agrees(left, right)
