"""Each row of docs/rfc-map.md leads to a file and to a test that exist."""

import re
from pathlib import Path

from tests.project.tree import ROOT

RFC_MAP = ROOT / "docs" / "rfc-map.md"
ROW = re.compile(r"^\|(?P<section>[^|]+)\|(?P<files>[^|]+)\|(?P<tests>[^|]+)\|$", re.MULTILINE)
HEADING = re.compile(r"section|[:-]+")
SECTION = re.compile(r"^(RFC \d{3,5}|draft-[a-z0-9-]+|UPnP \w+)\b")
REFERENCE = re.compile(r"`?(?P<path>[\w./-]+\.\w+)(?:::(?P<name>\w+))?`?")


def rows() -> list[tuple[str, str, str]]:
    found = [
        (match["section"].strip(), match["files"].strip(), match["tests"].strip())
        for match in ROW.finditer(RFC_MAP.read_text(encoding="utf-8"))
    ]
    return [row for row in found if not HEADING.fullmatch(row[0])]


def faults_of(cell: str) -> list[str]:
    """What is wrong with the references of a cell: paths, or paths with ``::name``."""
    faults = []
    references = [part.strip() for part in re.split(r",|;|<br>", cell) if part.strip()]
    for reference in references:
        match = REFERENCE.fullmatch(reference)
        if match is None:
            faults.append(f"{reference!r} is no reference")
        elif not (ROOT / match["path"]).is_file():
            faults.append(f"{match['path']} does not exist")
        elif match["name"] and not _defines(ROOT / match["path"], match["name"]):
            faults.append(f"{match['path']} does not define {match['name']}")
    return faults or ([] if references else ["empty"])


def _defines(file: Path, name: str) -> bool:
    pattern = re.compile(rf"^\s*(async def|def|class) {name}\b", re.MULTILINE)
    return pattern.search(file.read_text(encoding="utf-8")) is not None


def test_the_map_has_rows() -> None:
    assert len(rows()) > 50


def test_every_row_names_a_document() -> None:
    assert [row[0] for row in rows() if not SECTION.match(row[0])] == []


def test_every_row_leads_to_files_that_exist() -> None:
    assert [(row[0], fault) for row in rows() for fault in faults_of(row[1])] == []


def test_every_row_leads_to_tests_that_exist() -> None:
    assert [(row[0], fault) for row in rows() for fault in faults_of(row[2])] == []
    assert [row[0] for row in rows() if not row[2].lstrip("`").startswith("tests/")] == []
