import json
from pathlib import Path

from benchmarks.relay.program.results import Results, section

FIGURES = {
    "172": {
        "Binding request": {"IPv4": 128, "IPv6": 192},
        "ChannelData": {"IPv4 to IPv4": 154, "IPv4 to IPv6": 224, "IPv6 to IPv6": 229},
    }
}
RESULTS = Results("abc", "2026-11-28", "a machine", FIGURES)


def test_each_kind_of_packet_has_a_row_with_what_is_known_of_each_way() -> None:
    text = section(RESULTS)
    assert text.startswith("## Relay planes: the kernel's program by itself\n")
    assert "With 172 bytes of data:" in text
    assert "| packet | IPv4 to IPv4 | IPv4 to IPv6 | IPv6 to IPv6 |" in text
    assert "| Binding request | 128 |  | 192 |" in text
    assert "| ChannelData | 154 | 224 | 229 |" in text


def test_the_figures_are_kept_by_commit(tmp_path: Path) -> None:
    kept = json.loads(RESULTS.keep(tmp_path).read_text())
    assert (tmp_path / "program-abc.json").exists()
    assert kept["nanoseconds"] == FIGURES
