"""The keys that outlive a restart."""

from pathlib import Path

import pytest

from natkit.errors import ConfigError
from natkit.server.state import KEYS_FILE
from natkit.server.state import load_keys as load_all
from stun_server.shell.state import default_data_dir, ephemeral_keys, load_keys


def test_keys_are_made_once_and_then_read(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    keys = load_keys(directory)
    assert len(keys.nonce) == 32
    assert load_keys(directory) == keys
    assert load_keys(tmp_path / "other") != keys
    assert [each.name for each in directory.iterdir()] == [KEYS_FILE]


def test_a_key_that_is_new_is_added_to_those_that_are_there(tmp_path: Path) -> None:
    before = load_keys(tmp_path)
    both = load_all(tmp_path, ("nonce", "flow_tokens"))
    assert both["nonce"] == before.nonce
    assert load_all(tmp_path, ("nonce", "flow_tokens")) == both
    assert load_keys(tmp_path) == before
    assert (tmp_path / KEYS_FILE).stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [KEYS_FILE]


def test_ephemeral_keys_are_new_each_time() -> None:
    assert ephemeral_keys() != ephemeral_keys()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"nonce": 3}', '{"nonce": "xyz"}', '{"nonce": "00"}', "\0"]
)
def test_a_file_that_holds_no_keys_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    load_keys(tmp_path)
    (tmp_path / KEYS_FILE).write_text(content)
    with pytest.raises(ConfigError, match=r"keys\.json holds no keys; delete it"):
        load_keys(tmp_path)


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    load_keys(tmp_path)
    (tmp_path / KEYS_FILE).chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others; chmod 600"):
        load_keys(tmp_path)


def test_a_directory_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose a directory by --data-dir"):
        load_keys(tmp_path / "file" / "below")


def test_a_relative_state_home_is_ignored_as_its_specification_wants(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_data_dir() == tmp_path / ".local" / "state" / "natkit" / "stun-server"
