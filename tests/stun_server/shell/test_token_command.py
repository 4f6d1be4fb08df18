"""``stun-server token``, as it is typed."""

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from natkit.cli.entry import run
from natkit.stun.attributes import AccessToken
from natkit.stun.tokens import TokenKey, unseal
from stun_server.shell.commands import app

KEY = b"n" * 32


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "server.toml"
    file.write_text(
        "[users]\n"
        f'oauth_keys.past = {{ key = "{b64encode(KEY).decode()}", until = 2001-01-01T00:00:00Z }}\n'
        f'oauth_keys.north = "{b64encode(KEY).decode()}"\n'
        "[realms.other]\n"
        'origins = ["https://example.org"]\n'
        "[realms.other.users]\n"
        'passwords = { ann = "secret" }\n'
    )
    return file


def command(*arguments: str) -> int:
    return run(app, "stun-server", server=True, arguments=["token", *arguments])


@pytest.mark.parametrize(("flags", "size"), [((), 32), (("--sha1",), 20)])
def test_a_token_is_what_the_server_takes(
    config: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], size: int
) -> None:
    assert command("--config", str(config), "--lifetime", "60", "--json", *flags) == 0
    made = json.loads(capsys.readouterr().out)
    sealed = AccessToken.decode(b64decode(made["access_token"]))
    token = unseal(sealed, TokenKey("north", KEY), "natkit")
    assert (made["kid"], made["expires_in"], made["schema"]) == ("north", 60, 1)
    assert (token.lifetime, token.mac_key) == (60, b64decode(made["key"]))
    assert len(token.mac_key) == size


def test_for_people_it_is_three_lines(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--config", str(config), "--kid", "north") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13].strip() for line in lines] == ["kid", "access token", "key"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--kid", "east"), "--kid east: there is no such key; known are past, north"),
        (("--kid", "past"), "no such key is valid now"),
        (("--realm", "nowhere"), "--realm nowhere: the configuration has no such realm"),
        (("--realm", "other"), "the configuration has no key of access tokens"),
    ],
)
def test_a_mistake_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert command("--config", str(config), *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error.replace("\n", " ")
