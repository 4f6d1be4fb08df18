"""The code of the guide to ICE runs."""

from pathlib import Path

import pytest

from natkit.address import Address
from tests.project.snippets import Snippet, snippets
from tests.project.test_readme import run_snippet
from tests.project.test_readme import server as server  # noqa: PLC0414 - a fixture
from tests.project.tree import ROOT

GUIDE = ROOT / "docs" / "guides" / "ice.md"


@pytest.mark.parametrize(
    "snippet",
    [snippet for snippet in snippets(GUIDE) if snippet.is_run],
    ids=lambda snippet: snippet.name,
)
def test_what_the_guide_shows_works(snippet: Snippet, server: Address, tmp_path: Path) -> None:
    replacements = {} if snippet.server is None else {snippet.server: str(server)}
    run_snippet(snippet, replacements, tmp_path)
