"""The plane in the kernel does what the one in user space does, whatever happens."""

import pytest

from natkit.relay.attaching import Mode
from tests.conftest import Sized
from tests.natkit.relay.twin_story import Story
from tests.natkit.relay.twins import twins
from tests.netlab.namespaces import Lab

pytestmark = [pytest.mark.netns, pytest.mark.peer("libbpf")]

FRAMES_AT_ONCE = 6


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("seed", [1, 2])
def test_no_frame_tells_the_planes_apart(lab: Lab, mode: Mode, seed: int, sized: Sized) -> None:
    print("seed", seed)
    with twins(lab, mode, dscp=46) as both:
        story = Story(both, seed)
        relayed = 0
        for _ in range(sized(quick=120, full=5_000)):
            story.command()
            for _ in range(FRAMES_AT_ONCE):
                story.frame()
            relayed += sum(map(len, both.compare().values()))
            for each in story.allocations:
                both.compare_counters(each.number)
            both.compare_totals()
        counted, behind = both.compare_totals(), both.counted_behind()
        assert relayed > counted.bindings_answered > 0
        # What the kernel left to user space is the smaller part.
        assert behind.packets_to_peers < counted.packets_to_peers / 2
        assert behind.packets_to_clients < counted.packets_to_clients / 2
        assert behind.bindings_answered < counted.bindings_answered / 2
        assert behind.dropped_no_permission < counted.dropped_no_permission / 2
