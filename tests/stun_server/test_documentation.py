"""The page about the server has examples that work; the list of options is the reference's."""

import re
from pathlib import Path

import pytest

from stun_server.config import Config, load
from tests.project.tree import ROOT

PAGE = ROOT / "docs" / "stun-server.md"
SECRET = "of sixteen or more"


def examples() -> list[str]:
    """Its configurations that stand alone."""
    return re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("text", examples())
def test_the_examples_of_the_page_are_configurations(text: str, tmp_path: Path) -> None:
    for name in re.findall(r'"/run/secrets/(\w+)"', text):
        (tmp_path / name).write_text(SECRET)
    file = tmp_path / "server.toml"
    file.write_text(text.replace("/run/secrets", str(tmp_path)))
    assert load(file) != Config()


def test_the_page_names_no_option_that_there_is_not() -> None:
    tables = "|".join(Config.model_fields)
    # Two files of the data directory are called like options.
    text = re.sub(r"users\.sqlite3|admin\.sock", "", PAGE.read_text(encoding="utf-8"))
    named = re.findall(rf"`({tables})\.(\w+)", text)
    assert named
    for table, option in named:
        model = Config.model_fields[table].annotation
        assert isinstance(model, type)
        known = {field.alias or name for name, field in model.model_fields.items()}
        assert option in known, f"{table}.{option}"
