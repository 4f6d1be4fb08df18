"""The page about the server shows every option of the configuration, as it is."""

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from stun_server.config import Config, load
from tests.project.tree import ROOT

PAGE = ROOT / "docs" / "stun-server.md"
# What the page shows in place of "none", or of nobody.
EXAMPLES = {
    "data_dir",
    "listen",
    "certificate",
    "key",
    "relay_ipv4",
    "relay_ipv6",
    "passwords",
    "secrets",
}


def shown() -> str:
    return PAGE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]


def values(model: BaseModel) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, field in type(model).model_fields.items():
        value: object = getattr(model, name)
        if isinstance(value, BaseModel):
            found |= values(value)
        else:
            found[field.alias or name] = value
    return found


def test_the_page_shows_every_option_and_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "carol"
    secret.write_text("hers\n")
    monkeypatch.setenv("BOB", "his")
    file = tmp_path / "server.toml"
    file.write_text(shown().replace("/run/secrets/carol", str(secret)))

    read, default = values(load(file)), values(Config())

    assert {name for name in read if read[name] != default[name]} == EXAMPLES
    assert read["passwords"] == {"alice": "secret", "bob": "his", "carol": "hers"}
    keys = tomllib.loads(shown())
    flat = {name for table in keys.values() if isinstance(table, dict) for name in table}
    assert flat | {"data_dir", "realms", "redirects"} == set(default)
