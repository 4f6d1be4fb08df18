from dataclasses import replace

import pytest

from benchmarks.ice.meeting import SCENARIOS, Meeting, meet
from benchmarks.ice.report import section
from benchmarks.ice.results import Results, bars
from benchmarks.ice.thousand import Crowd, crowd

ONE = Meeting(first_data=0.03, selected=0.04, packets=6, cpu=0.01)
CROWD = Crowd(
    agents=1000, completed=1000, bytes=20_000_000, busiest=200, connecting=9.0, cpu_seconds=8.0
)


def results(**first_data: float) -> Results:
    by_stack = {
        stack: [replace(ONE, first_data=first_data.get(stack, 0.1))]
        for stack in ("natkit", "aioice", "libnice")
    }
    return Results(
        commit="0123456789ab",
        date="2026-01-01",
        machine="a processor",
        python="3.11.2",
        aioice="0.13.0",
        libnice="0.1.21",
        real_time=False,
        meetings={"plain": by_stack, "lossy": by_stack},
        crowd=CROWD,
    )


def test_each_scenario_has_a_bar_for_each_peer_and_the_crowd_has_three() -> None:
    assert [bar.reached for bar in bars(results(natkit=0.04))] == [True] * 7
    # As fast as aioice is not enough where packets are lost.
    slow = [bar.title for bar in bars(results()) if not bar.reached]
    assert slow == ["lossy: first data, as a multiple of aioice's time"]
    full = results(natkit=0.04)
    full.crowd = replace(CROWD, bytes=70_000_000, busiest=201, completed=999)
    assert [bar.reached for bar in bars(full)] == [True] * 4 + [False] * 3


def test_the_section_states_times_packets_and_memory() -> None:
    text = section(results(natkit=0.04))
    assert text.startswith("## ICE: natkit, aioice and libnice\n")
    assert "| nothing in the way | natkit | 1 | 40 | 40 | 40 | 6 | 10.0 |" in text
    assert "19.5 KiB an agent" in text


def test_a_crowd_meets_at_the_pace_of_its_process() -> None:
    met = crowd(60)
    assert met.completed == met.agents == 60
    assert 0 < met.busiest <= 200


@pytest.mark.peer("aioice", "libnice")
@pytest.mark.parametrize("stack", ["natkit", "aioice", "libnice"])
async def test_two_agents_of_each_kind_meet_through_the_forwarder(stack: str) -> None:
    met = await meet(stack, SCENARIOS["plain"], seed=1)
    assert not met.failed
    assert met.first_data > 0
    assert met.packets >= 4
