"""The code of the guide to sipdns runs; BIND 9 serves the zone that it speaks of."""

from pathlib import Path

import pytest

from tests.peering.plugin import StartNamed
from tests.project.snippets import Snippet, snippets
from tests.project.test_readme import ZONES, run_snippet
from tests.project.tree import ROOT

GUIDE = ROOT / "docs" / "guides" / "locating-servers.md"


@pytest.mark.peer("bind9")
@pytest.mark.parametrize("snippet", snippets(GUIDE), ids=lambda snippet: snippet.name)
def test_what_the_guide_shows_works(
    snippet: Snippet, start_named: StartNamed, tmp_path: Path
) -> None:
    assert snippet.is_run
    replacements = {}
    if snippet.dns is not None:
        zones = {file.name: file.read_text() for file in ZONES.iterdir()}
        replacements[snippet.dns] = str(start_named(zones))
    run_snippet(snippet, replacements, tmp_path)
