"""Which running server a command means."""

from pathlib import Path

import pytest

from natkit.errors import ConfigError
from natkit.server import whereabouts
from natkit.server.attending import SOCKET
from natkit.server.whereabouts import place_of

PROGRAM = "sip-proxy"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The caller's own data directory and the service's; nobody serves at either."""
    own, system = tmp_path / "own", tmp_path / "system"
    own.mkdir()
    system.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(own))
    monkeypatch.setattr(whereabouts, "system_data_dir", lambda _: system)
    return own, system


def test_the_caller_s_own_server_comes_before_the_service(places: tuple[Path, Path]) -> None:
    own, system = places
    assert place_of(PROGRAM, None, None) == own
    (system / SOCKET).touch()
    assert place_of(PROGRAM, None, None) == system
    (own / SOCKET).touch()
    assert place_of(PROGRAM, None, None) == own


def test_a_service_that_the_caller_may_not_see_is_asked_and_says_whose_it_is(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, system = places
    exists = Path.exists

    def closed(path: Path) -> bool:
        if path.parent == system:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", closed)
    assert place_of(PROGRAM, None, None) == system


def test_what_is_named_counts(places: tuple[Path, Path], tmp_path: Path) -> None:
    own, system = places
    config = tmp_path / "server.toml"
    config.write_text(f'data_dir = "{system}"\n')
    assert place_of(PROGRAM, config, None) == system
    assert place_of(PROGRAM, config, own) == own
    with pytest.raises(ConfigError, match="there is no data directory"):
        place_of(PROGRAM, None, tmp_path / "nowhere")
