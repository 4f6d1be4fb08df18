"""The reference page is made from the model, and the model says something of each option."""

import pytest
from pydantic import BaseModel

from stun_server import reference
from stun_server.config import Config, Realm, Redirect
from tests.project.tree import ROOT


def undocumented(model: type[BaseModel], table: str = "") -> list[str]:
    """The options without a sentence."""
    found = []
    said = reference.sentences(model)
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += undocumented(kind, f"{table}{name}.")
        elif not said.get(name, "").rstrip().endswith("."):
            found.append(table + name)
    return found


def test_the_page_is_what_the_model_says_now() -> None:
    written = (ROOT / "docs" / "reference" / "stun-server.md").read_text(encoding="utf-8")
    assert written == reference.page(), (
        "python -m stun_server.reference > docs/reference/stun-server.md"
    )


@pytest.mark.parametrize("model", [Config, Realm, Redirect])
def test_every_option_has_a_sentence(model: type[BaseModel]) -> None:
    assert undocumented(model) == []


def test_the_page_has_every_table() -> None:
    page = reference.page()
    for table in ("[listeners]", "[users]", "[realms.NAME.policy]", "[[redirects]]", "[log]"):
        assert f"## {table}\n" in page
