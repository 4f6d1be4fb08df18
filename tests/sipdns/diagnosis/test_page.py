"""docs/sipdns-check.md says what the rules and the JSON are."""

import re
from pathlib import Path

import pytest

from sipdns.diagnosis import RULES
from sipdns.diagnosis.page import renewed
from tests.project.tree import ROOT
from tests.sipdns.diagnosis.checking import GOOD, check_zone

PAGE = ROOT / "docs" / "sipdns-check.md"


def test_the_catalogue_of_rules_is_as_the_rules_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, "run: python -m sipdns.diagnosis"


def test_rules_are_named_once_and_speak_for_themselves() -> None:
    assert len({one.id for one in RULES}) == len(RULES)
    for one in RULES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", one.id), one.id
        assert re.fullmatch(r"RFC \d+( §[\d.]+)?", one.rfc), one.rfc
        assert one.claim[0].isupper(), one.claim
        assert not one.claim.endswith("."), one.claim
        assert one.why.endswith("."), one.why


def test_every_member_of_the_json_is_in_the_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = PAGE.read_text(encoding="utf-8").partition("\n## JSON\n")[2]
    document = check_zone(
        capsys, tmp_path, GOOD.replace("5061 sip1", "5060 sip1"), "--explain-failover", "1"
    ).document
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert list(rows) == list(document)
    for name in ("naptr", "queries", "findings", "checks", "failover"):
        entries = document[name]
        assert isinstance(entries, list)
        for key in entries[0]:
            assert f"`{key}`" in rows[name], (name, key)


@pytest.mark.parametrize("option", ["--accept", "--probe", "--zonefile", "--compare"])
def test_the_page_has_the_options(option: str) -> None:
    assert f"`{option}" in PAGE.read_text(encoding="utf-8")
