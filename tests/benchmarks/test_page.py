from pathlib import Path

from benchmarks.page import Bar, bar_table, put_section


def test_a_section_takes_the_place_of_its_last_version_and_leaves_others(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    put_section(page, "## Relay: one\n\nold\n\n### Part\n\nmore\n")
    put_section(page, "## Location: one\n\nhere\n")
    put_section(page, "## Relay: one\n\nnew\n")
    assert page.read_text() == (
        "# Benchmarks\n\n## Location: one\n\nhere\n\n## Relay: one\n\nnew\n"
    )


def test_the_table_of_bars_tells_which_are_missed() -> None:
    text = bar_table([Bar("cost", 1.7, 1.6), Bar("rate", 25_000, 20_000, at_least=True)])
    assert "| cost | 1.70 | ≤ 1.6 | **missed** |" in text
    assert "| rate | 25,000.00 | ≥ 20,000 | reached |" in text
