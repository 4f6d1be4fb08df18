from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.checkout import RESULTS
from benchmarks.ice.results import Results as Ice
from benchmarks.keepalive.results import Results as KeepAlive
from benchmarks.keeping import Figures
from benchmarks.locate.results import Results as Locate
from benchmarks.relay.cables.results import Results as Cables
from benchmarks.relay.program.results import Results as Program
from benchmarks.relay.results import Results as Relay
from benchmarks.sip.results import Results as Sip


@dataclass(frozen=True, slots=True)
class Lap:
    seconds: float


@dataclass(slots=True)
class Race(Figures):
    benchmark = "race"

    laps: dict[str, list[Lap]] = field(default_factory=dict)
    fastest: Lap | None = None


def race() -> Race:
    laps = {"a": [Lap(1.5), Lap(2.0)], "b": []}
    return Race("0123456789ab", "2026-01-01", "a processor", laps, Lap(1.5))


def test_what_is_kept_is_read_back_with_what_it_is_made_of(tmp_path: Path) -> None:
    kept = race()
    file = kept.keep(tmp_path / "results")
    assert file == Race.file(tmp_path / "results", "0123456789ab")
    assert file.name == "race-0123456789ab.json"
    assert Race.read(file) == kept


@pytest.mark.parametrize("kind", ['"race", "schema": 2', '"dns", "schema": 1'])
def test_a_file_of_another_benchmark_or_schema_is_not_read(tmp_path: Path, kind: str) -> None:
    file = race().keep(tmp_path)
    whole = file.read_text().removeprefix('{\n "schema": 1,\n "benchmark": "race"')
    file.write_text(f'{{"benchmark": {kind}{whole}')
    with pytest.raises(ValueError, match="no result of this benchmark"):
        Race.read(file)


@pytest.mark.parametrize("kind", [Cables, Ice, KeepAlive, Locate, Program, Relay, Sip])
def test_the_figures_that_the_page_shows_can_be_read(kind: type[Figures], tmp_path: Path) -> None:
    files = sorted(RESULTS.glob(f"{kind.benchmark}-*.json"))
    assert files
    for file in files:
        found = kind.read(file)
        assert kind.file(RESULTS, found.commit) == file
        assert kind.read(found.keep(tmp_path)) == found
