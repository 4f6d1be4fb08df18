"""Each complaint that docs/what-operators-ask.md answers has tests that exist."""

from tests.project.test_rfc_map import ROW, faults_of
from tests.project.tree import ROOT

PAGE = ROOT / "docs" / "what-operators-ask.md"


def test_every_answer_leads_to_tests_that_exist() -> None:
    rows = [match["tests"].strip() for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    cells = [cell for cell in rows if cell not in {"tests", "---"}]
    assert len(cells) >= 18
    assert [(cell, fault) for cell in cells for fault in faults_of(cell)] == []
