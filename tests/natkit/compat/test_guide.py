"""The code of the guide for aiortc programs runs."""

from pathlib import Path

import pytest

from tests.project.snippets import Snippet, snippets
from tests.project.test_readme import run_snippet
from tests.project.tree import ROOT

GUIDE = ROOT / "docs" / "guides" / "aiortc.md"

pytestmark = pytest.mark.peer("aiortc")


@pytest.mark.parametrize(
    "snippet",
    [snippet for snippet in snippets(GUIDE) if snippet.is_run],
    ids=lambda snippet: snippet.name,
)
def test_what_the_guide_shows_works(snippet: Snippet, tmp_path: Path) -> None:
    run_snippet(snippet, {}, tmp_path)
