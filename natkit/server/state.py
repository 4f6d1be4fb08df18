"""What a server keeps between its runs: its data directory, and the keys in it."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from natkit.errors import ConfigError

__all__ = ["KEYS_FILE", "KEY_LENGTH", "default_data_dir", "load_keys", "system_data_dir"]

KEYS_FILE = "keys.json"
KEY_LENGTH = 32
"""Bytes of each key."""


def system_data_dir(program: str) -> Path:
    """Where the service of a packaged unit keeps its data."""
    return Path("/var/lib/natkit") / program


def default_data_dir(program: str) -> Path:
    """``$STATE_DIRECTORY``, which systemd sets, else natkit's own under ``$XDG_STATE_HOME``."""
    service = os.environ.get("STATE_DIRECTORY")
    if service:
        # systemd separates several by colons; the first is ours.
        return Path(service.partition(":")[0])
    home = os.environ.get("XDG_STATE_HOME")
    # The XDG specification wants relative paths ignored.
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "natkit" / program


def load_keys(data_dir: Path, names: Iterable[str]) -> Mapping[str, bytes]:
    """The keys of these names in ``data_dir``; those that it lacks are made.

    ConfigError when they can be neither read nor kept.
    """
    path = data_dir / KEYS_FILE
    wanted = tuple(names)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path, {name: os.urandom(KEY_LENGTH) for name in wanted})
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; chmod 600 {path}")
        keys = _parse(path.read_text(), path)
        missing = {name: os.urandom(KEY_LENGTH) for name in wanted if name not in keys}
        if missing:
            keys |= missing
            _replace(path, keys)
        return {name: keys[name] for name in wanted}
    except OSError as error:
        raise ConfigError(
            f"cannot keep keys in {data_dir}: {error.strerror}; choose a directory by --data-dir"
        ) from error


def _parse(text: str, path: Path) -> dict[str, bytes]:
    try:
        content: object = json.loads(text)
        if isinstance(content, dict) and content:
            keys = {str(name): bytes.fromhex(key) for name, key in content.items()}
            if all(len(key) == KEY_LENGTH for key in keys.values()):
                return keys
    except (ValueError, TypeError):
        pass
    raise ConfigError(f"{path} holds no keys; delete it and new ones are made")


def _create(path: Path, keys: Mapping[str, bytes]) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Another server was quicker; its keys count.
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(_text(keys))


def _replace(path: Path, keys: Mapping[str, bytes]) -> None:
    """All or nothing, so that no crash loses the keys that are there."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_text(keys))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _text(keys: Mapping[str, bytes]) -> str:
    return json.dumps({name: key.hex() for name, key in keys.items()}) + "\n"
