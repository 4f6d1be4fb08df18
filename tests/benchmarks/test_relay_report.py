import subprocess
from pathlib import Path

import pytest

from benchmarks.page import Bar
from benchmarks.relay import loads
from benchmarks.relay.loads import LOADS, SPREAD_LOADS, Packets
from benchmarks.relay.report import section
from benchmarks.relay.results import SPREAD, Results, bars
from benchmarks.relay.scenarios import Allocating


def results(*, up: float = 6.0, binding: float = 4.0, rate: float = 4_500.0) -> Results:
    """Three rounds in which natkit's figures are as given and coturn's are round numbers."""
    cost = {"binding": binding, "up": up, "down": 5.0, "send": 5.0, "data": 5.0}
    return Results(
        commit="0123456789ab",
        date="2026-01-01",
        machine="a processor",
        python="3.11.2",
        versions={"natkit": "natkit 0.1.0", "coturn": "4.6.1"},
        seconds=2.0,
        window=128,
        allocations=2_000,
        packets={
            "natkit": {
                load.title: [Packets(1e5, cost[load.kind] + extra, 12, 0) for extra in (9, 0, -1)]
                for load in LOADS
            },
            "coturn": {load.title: [Packets(100_000, 5.0, 12, 0.01)] * 3 for load in LOADS},
            SPREAD: {load.title: [Packets(90_000, 6.5, 14, 0.0)] * 3 for load in SPREAD_LOADS},
        },
        bytes_per_allocation={"natkit": [4_000.0], "coturn": [22_000.0]},
        allocating={
            "natkit": [Allocating(rate, 7_500, 150)] * 3,
            "coturn": [Allocating(3_000, 5_000, 100)] * 3,
        },
    )


def test_bars_take_the_median_of_the_worst_load() -> None:
    measured = {bar.title.partition(":")[0]: bar.measured for bar in bars(results(up=7.5))}
    assert measured["ChannelData"] == pytest.approx(1.5)
    assert measured["Binding"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        (results(), []),
        (results(up=7.0), ["ChannelData"]),
        (
            results(up=8.1),
            ["ChannelData", "ChannelData, 4 under way", "ChannelData over TCP"],
        ),
        (results(binding=4.6), ["Binding"]),
        (results(binding=6.1), ["Binding", "Binding, 4 under way"]),
        (
            results(rate=4_400),
            ["allocations a second, one after the other, as a multiple of coturn's"],
        ),
    ],
)
def test_a_missed_bar_is_told(figures: Results, missed: list[str]) -> None:
    found = [bar.title.partition(":")[0] for bar in bars(figures) if not bar.reached]
    assert found == missed
    assert section(figures).count("**missed**") == len(missed)


def test_a_bar_is_reached_at_its_very_limit() -> None:
    assert Bar("cost", 1.6, 1.6).reached
    assert Bar("rate", 1.0, 1.0, at_least=True).reached


def test_the_section_has_every_load_and_its_tables_are_even() -> None:
    text = section(results())
    for load in LOADS:
        assert f"| {load.title} |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.peer("gcc")
@pytest.mark.peer("libssl")
def test_the_load_generator_compiles_without_warnings_and_says_how_to_use_it(
    tmp_path: Path,
) -> None:
    source = Path(loads.__file__).with_name("pump.c")
    program = tmp_path / "pump"
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lssl", "-lcrypto"],
        check=True,
    )
    wrong = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("usage: pump")


def test_several_workers_stand_beside_one_and_coturn() -> None:
    row = "| Binding, 64 clients | 90,000 | 6.50 | 4.00 | 5.00 | 1.30 | 0.00% |"
    assert row in section(results())
