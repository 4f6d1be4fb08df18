"""The reference page is made from the model, and the model says something of each option."""

from natkit.server.config.reference import undocumented
from sip_proxy import reference
from sip_proxy.config import Config
from tests.project.tree import ROOT


def test_the_page_is_what_the_model_says_now() -> None:
    written = (ROOT / "docs" / "reference" / "sip-proxy.md").read_text(encoding="utf-8")
    assert written == reference.page(), (
        "python -m sip_proxy.reference > docs/reference/sip-proxy.md"
    )


def test_every_option_has_a_sentence() -> None:
    assert undocumented(Config) == []
