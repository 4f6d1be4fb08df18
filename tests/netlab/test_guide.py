"""What the guide to port mapping shows works, behind a real gateway."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.netlab.gateway import ROUTER, Home, home, run_on
from tests.netlab.namespaces import Lab
from tests.project.snippets import Snippet, commands, snippets, words
from tests.project.tree import ROOT

pytestmark = [pytest.mark.netns, pytest.mark.peer("iproute2", "miniupnpd", "nftables")]

GUIDE: Final = ROOT / "docs" / "guides" / "port-mapping.md"


@pytest.fixture
def network(lab: Lab, tmp_path: Path) -> Iterator[Home]:
    with home(lab, tmp_path / "miniupnpd") as made:
        made.start()
        yield made


@pytest.mark.parametrize(
    "snippet", [each for each in snippets(GUIDE) if each.is_run], ids=lambda snippet: snippet.name
)
def test_what_the_guide_shows_works(network: Home, snippet: Snippet) -> None:
    assert snippet.gateway is not None
    body = snippet.body.replace(snippet.gateway, ROUTER)
    if snippet.language == "python":
        printed = run(network, [sys.executable, "-W", "error", "-c", body])
        assert printed.startswith("others reach it at 11.0.0.1:40000")
        return
    for command in commands(body):
        shown = run(network, ["sh", "-c", command.text])
        absent = Counter(command.shown_words) - Counter(words(shown))
        assert not absent, f"{command.text} does not print {sorted(absent)}"


def run(network: Home, command: list[str]) -> str:
    directories = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = run_on(network.host, ["env", f"PATH={directories}", *command])
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout
