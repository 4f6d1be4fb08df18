"""Two agents find each other: what they select, what they tell, and what passes afterwards."""

from itertools import pairwise

import pytest

from natkit.ice.events import IceState, PairSelected, PairValid, StateChanged
from natkit.ice.settings import IceSettings
from tests.natkit.ice.world import Peer, World

CONTROLLED = IceSettings(controlling=False)


def on_one_network(
    seed: int, *, components: int = 1, streams: int = 1, left_settings: IceSettings | None = None
) -> tuple[World, Peer, Peer]:
    world = World(seed)
    left = world.peer(
        "left", "192.0.2.1", components=components, streams=streams, settings=left_settings
    )
    right = world.peer(
        "right", "192.0.2.2", settings=CONTROLLED, components=components, streams=streams
    )
    world.meet(left, right)
    return world, left, right


def test_both_select_one_pair_and_data_takes_it() -> None:
    world, left, right = on_one_network(1)
    world.until_completed(left, right)
    mine, theirs = left.agent.selected_pair(0, 1), right.agent.selected_pair(0, 1)
    assert mine is not None
    assert theirs is not None
    assert (mine.path.local, mine.path.remote) == (theirs.path.remote, theirs.path.local)
    assert world.data_agrees(left, right)


def test_the_states_are_told_in_the_order_of_progress() -> None:
    world, left, right = on_one_network(2)
    world.until_completed(left, right)
    for peer in (left, right):
        states = [each.state for each in peer.shell.take(StateChanged)]
        assert states[0] is IceState.CHECKING
        assert states[-1] is IceState.COMPLETED
        order = list(IceState)
        assert all(order.index(a) < order.index(b) for a, b in pairwise(states))


def test_data_may_flow_before_a_pair_is_selected() -> None:
    world, left, right = on_one_network(3)
    world.network.run_until(lambda: any(left.shell.take(PairValid)), 5.0)
    assert not any(isinstance(each, PairSelected) for each in left.shell.events)
    assert left.send(b"early")
    world.network.run_until(lambda: right.received == [b"early"], 1.0)


@pytest.mark.parametrize(("streams", "components"), [(1, 2), (3, 1), (2, 2)])
def test_every_component_of_every_stream_gets_its_pair(streams: int, components: int) -> None:
    world, left, right = on_one_network(4, streams=streams, components=components)
    world.until_completed(left, right)
    for stream in range(streams):
        for component in range(1, components + 1):
            assert world.data_agrees(left, right, component, stream)


def test_nothing_is_sent_before_there_is_a_pair_or_after_the_end() -> None:
    world, left, right = on_one_network(5)
    assert not left.send(b"too early")
    world.until_completed(left, right)
    left.shell.call(left.agent.close)
    assert not left.send(b"too late")
    assert left.agent.state is IceState.CLOSED
    assert left.agent.next_deadline() is None
