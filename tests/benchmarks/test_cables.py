import math
import random
import socket
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.relay.cables import loads
from benchmarks.relay.cables.bounds import upper_bound
from benchmarks.relay.cables.entries import Entries
from benchmarks.relay.cables.idle import watching_idle
from benchmarks.relay.cables.loads import DELAYS, LOADS, Burden, Delay, Ends, Flow, Generator, Load
from benchmarks.relay.cables.measuring import COMPARED, RUNNING_IN_THE_KERNEL
from benchmarks.relay.cables.plain import DIRECT, REFERENCES
from benchmarks.relay.cables.plot import picture
from benchmarks.relay.cables.report import section
from benchmarks.relay.cables.results import Results, bars
from benchmarks.relay.cables.servers import (
    COTURN,
    KERNEL,
    OTHERS,
    SERVERS,
    UNFINISHED,
    UNFINISHED_COTURN,
    USERSPACE,
)
from natkit.address import Address

ALONE = 2.0


def results(*, kernel: float = 0.5, userspace: float = 6.0) -> Results:
    """Three rounds; what each adds to the load alone is as given, and coturn's is 10."""
    added = {KERNEL: kernel, USERSPACE: userspace, COTURN: 10.0, UNFINISHED_COTURN: 8.0}
    added |= dict.fromkeys(set(OTHERS) - added.keys(), 1.2)
    return Results(
        commit="0123456789ab",
        date="2026-01-01",
        machine="a processor",
        real_time=False,
        seconds=0.3,
        versions={"natkit": "natkit 0.1.0", "coturn": "4.6.1"},
        burdens={
            name: {
                load.title: [
                    Burden(1e5, ALONE + noise + added.get(name, 0.0), 0.0)
                    for noise in (-0.01, 0, 0.01)
                ]
                for load in LOADS
            }
            for name in (*SERVERS, *OTHERS, *REFERENCES)
        },
        delays={
            name: {load.title: [Delay(3.0, 9.0)] * 3 for load in DELAYS}
            for name in (*SERVERS, DIRECT)
        },
        own={
            name: {load.title: [300.0] * 3 for load in COMPARED} for name in RUNNING_IN_THE_KERNEL
        },
        entries=Entries(50_000, 50.0, 40.0, 36_000_000, 71_000_000, 0),
    )


def test_the_bound_of_a_ratio_holds_in_some_95_of_100_cases() -> None:
    rng = random.Random(1)
    held = 0
    for _ in range(40):
        # What disturbs one round disturbs both.
        rounds = [rng.uniform(0.8, 1.2) for _ in range(10)]
        ours = tuple(0.1 * each + rng.gauss(0, 0.02) for each in rounds)
        theirs = tuple(each + rng.gauss(0, 0.1) for each in rounds)
        held += upper_bound(ours, theirs) >= 0.1
    assert held >= 34


def test_a_disturbed_run_does_not_move_the_bound_far() -> None:
    ours, theirs = (0.5, 0.51, 0.49, 0.5, 0.52, 0.5, 0.48, 0.5, 0.5), (5.0,) * 9
    assert upper_bound((*ours, 9.0), (*theirs, 5.0)) < 0.105


def test_the_bound_is_the_ratio_where_nothing_varies_and_infinite_where_nothing_is_known() -> None:
    assert upper_bound((1.0,) * 3, (4.0,) * 3) == pytest.approx(0.25)
    assert upper_bound((1.0,), (4.0,)) == math.inf
    assert upper_bound((1.0, 1.0), (-4.0, 0.0)) == math.inf


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        (results(), []),
        (results(kernel=1.01), ["kernel: CPU of a relayed packet, in coturn's"]),
        (
            results(kernel=1.3),
            [
                "kernel: CPU of a relayed packet, in coturn's",
                "kernel: CPU of a Binding, in coturn's",
            ],
        ),
        (results(userspace=7.1), ["user space: a Binding"]),
        (
            results(userspace=12.0),
            ["user space: a relayed packet of 4 allocations", "user space: a Binding"],
        ),
    ],
)
def test_a_missed_bar_is_told(figures: Results, missed: list[str]) -> None:
    assert [bar.title for bar in bars(figures) if not bar.reached] == missed
    assert section(figures, "a.svg").count("**missed**") == len(missed)


def test_what_has_its_sums_unfinished_is_compared_with_its_like() -> None:
    figures, load = results(), COMPARED[0]
    assert figures.ratio(UNFINISHED, load) == pytest.approx(1.2 / 8)
    assert f"| {UNFINISHED} | 1.20 (0.150, ≤ 0.150)" in section(figures, "a.svg")


def test_the_section_has_every_load_and_its_tables_are_even() -> None:
    text = section(results(), "a.svg")
    for load in LOADS:
        assert f"| {load.title} |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 7
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_picture_is_svg_with_a_bar_for_each_server_under_each_load() -> None:
    svg = "{http://www.w3.org/2000/svg}"
    root = ET.fromstring(picture(results()))
    boxes = root.findall(f"{svg}rect")
    shown = [load for load in LOADS if load.clients != 4]
    # One is the ground, and one for each server is the legend's.
    assert len(boxes) == 1 + len(SERVERS) + len(SERVERS) * len(shown)
    words = {text.text for text in root.findall(f"{svg}text")}
    assert {load.title for load in shown} <= words


@pytest.mark.peer("gcc")
@pytest.mark.parametrize("name", ["load", "idle"])
def test_the_programs_compile_without_warnings(tmp_path: Path, name: str) -> None:
    source = Path(loads.__file__).with_name(f"{name}.c")
    program = str(tmp_path / name)
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, str(source)]
    subprocess.run(command, check=True)
    assert subprocess.run([program], capture_output=True, check=False).returncode == 2


@pytest.mark.peer("gcc")
def test_every_flow_sends_from_its_own_address_and_the_machine_is_watched(tmp_path: Path) -> None:
    with (
        watching_idle(tmp_path) as idle,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into,
    ):
        into.bind(("127.0.0.1", 0))
        address = Address(*into.getsockname())
        flows = [Flow(f"127.0.1.{number}", address) for number in range(1, 4)]
        generator = Generator(tmp_path, idle)
        burden = Burden.of([generator.flood(Load("up", 3), Ends(flows, out, into), 0.1)])
        assert burden.packets_per_second > 0
        assert burden.machine_microseconds > 0
        delay = generator.delay(Load("up", 3), Ends(flows, out, into), 0.1)
        assert 0 < delay.middle <= delay.slow
