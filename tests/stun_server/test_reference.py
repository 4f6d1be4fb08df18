"""The reference page is made from the model, and the model says something of each option."""

from natkit.server.config import Table
from natkit.server.config.reference import undocumented
from stun_server import reference
from stun_server.config import Config
from tests.project.tree import ROOT


def test_the_page_is_what_the_model_says_now() -> None:
    written = (ROOT / "docs" / "reference" / "stun-server.md").read_text(encoding="utf-8")
    assert written == reference.page(), (
        "python -m stun_server.reference > docs/reference/stun-server.md"
    )


def test_every_option_has_a_sentence() -> None:
    assert undocumented(Config) == []


def test_an_option_without_a_sentence_is_found() -> None:
    class Silent(Table):
        said: int = 0
        """It is said."""
        silent: int = 0

    class Above(Table):
        silent: Silent = Silent()
        several: tuple[Silent, ...] = ()

    assert undocumented(Above) == ["silent.silent", "several.silent"]


def test_the_page_has_every_table() -> None:
    page = reference.page()
    for table in ("[listeners]", "[users]", "[realms.NAME.policy]", "[[redirects]]", "[log]"):
        assert f"## {table}\n" in page
