"""The page about the server shows every option of the configuration, as it is."""

import tomllib
from base64 import b64encode
from pathlib import Path

import pytest
from pydantic import BaseModel

from stun_server.config import Config, load
from tests.project.tree import ROOT

PAGE = ROOT / "docs" / "stun-server.md"
# What the page shows in place of "none", or of nobody.
EXAMPLES = {
    "data_dir",
    "listeners.listen",
    "listeners.certificate",
    "listeners.key",
    "listeners.relay_ipv4",
    "listeners.relay_ipv6",
    "listeners.external",
    "listeners.external_from",
    "users.passwords",
    "users.secrets",
    "users.oauth_keys",
    "admin.listen",
    "admin.token",
    "admin.public",
    "credentials.token",
    "limits.bandwidth",
    "limits.bandwidth_per_user",
}


def shown() -> str:
    return PAGE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]


def values(model: BaseModel) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, field in type(model).model_fields.items():
        value: object = getattr(model, name)
        if isinstance(value, BaseModel):
            # Some names are in several tables.
            found |= {f"{name}.{below}": one for below, one in values(value).items()}
        else:
            found[field.alias or name] = value
    return found


def test_the_page_shows_every_option_and_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "carol"
    secret.write_text("hers\n")
    (tmp_path / "admin").write_text("of sixteen or more\n")
    monkeypatch.setenv("BOB", "his")
    monkeypatch.setenv("API_TOKEN", "of sixteen or more")
    (tmp_path / "north").write_text(b64encode(bytes(32)).decode())
    file = tmp_path / "server.toml"
    file.write_text(shown().replace("/run/secrets", str(tmp_path)))

    read, default = values(load(file)), values(Config())

    assert {name for name in read if read[name] != default[name]} == EXAMPLES
    assert read["users.passwords"] == {"alice": "secret", "bob": "his", "carol": "hers"}
    keys = tomllib.loads(shown())
    flat = {
        f"{table}.{name}"
        for table, options in keys.items()
        if isinstance(options, dict)
        for name in options
    }
    assert flat | {"data_dir", "realms", "redirects"} == set(default)
