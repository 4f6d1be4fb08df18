"""docs/benchmarks.md: one section for each benchmark, of which each run writes its own."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.checkout import PAGE, RESULTS, ROOT
from benchmarks.keeping import Figures

__all__ = ["Bar", "add_print_option", "bar_table", "publish", "put_section", "table"]

_TITLE: Final = "# Benchmarks\n"
_SECTION: Final = re.compile(r"^## .*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bar:
    """What natkit must reach: a ratio to a peer, or a figure."""

    title: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def bar_table(bars: Sequence[Bar]) -> str:
    """The bars, and which are missed."""
    return table(
        ("bar", "measured", "asked", ""),
        [
            (
                bar.title,
                f"{bar.measured:,.2f}",
                f"{'≥' if bar.at_least else '≤'} {bar.limit:,g}",
                "reached" if bar.reached else "**missed**",
            )
            for bar in bars
        ],
    )


def add_print_option(parser: argparse.ArgumentParser) -> None:
    """``--print``, which sets ``keep`` to False."""
    parser.add_argument(
        "--print",
        dest="keep",
        action="store_false",
        help="print the section; leave docs/ and benchmarks/results/ as they are",
    )


def publish(figures: Figures, section: str, bars: Sequence[Bar], *, keep: bool) -> int:
    """Keep the figures and put the section into the page, or print it, and then the bars.

    The exit status: 0 when all bars are reached, else 1.
    """
    if keep:
        print(f"figures: {figures.keep(RESULTS).relative_to(ROOT)}")
        put_section(PAGE, section)
        print(f"page: {PAGE.relative_to(ROOT)}")
    else:
        print(section)
    for bar in bars:
        print(f"{'reached' if bar.reached else 'MISSED '}  {bar.measured:9,.2f}  {bar.title}")
    return 0 if all(bar.reached for bar in bars) else 1


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [titles, ("---", *("---:" for _ in titles[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put_section(page: Path, section: str) -> None:
    """Put a section, which begins with its ``## title``, in the place of its last version."""
    present = page.read_text(encoding="utf-8") if page.exists() else _TITLE
    sections = {_title(one): one for one in _SECTION.findall(present)}
    sections[_title(section)] = section
    # By title, so that the page does not depend on which benchmark ran last.
    parts = [_TITLE, *(sections[title].rstrip() + "\n" for title in sorted(sections))]
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n".join(parts), encoding="utf-8")


def _title(section: str) -> str:
    return section.partition("\n")[0]
