"""What the server keeps between its runs: the data directory, and the keys in it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from natkit.errors import ConfigError

__all__ = [
    "KEYS_FILE",
    "SYSTEM_DATA_DIR",
    "Keys",
    "default_data_dir",
    "ephemeral_keys",
    "load_keys",
]

KEYS_FILE = "keys.json"
NONCE_KEY_LENGTH = 32

SYSTEM_DATA_DIR = Path("/var/lib/natkit/stun-server")
"""Where the service of the packaged unit keeps its data."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets that outlive a restart."""

    nonce: bytes
    """Signs nonces: with it kept, clients go on with those that they have."""


def ephemeral_keys() -> Keys:
    """Keys for one run."""
    return Keys(nonce=os.urandom(NONCE_KEY_LENGTH))


def default_data_dir() -> Path:
    """``$STATE_DIRECTORY``, which systemd sets, else natkit's own under ``$XDG_STATE_HOME``."""
    service = os.environ.get("STATE_DIRECTORY")
    if service:
        # systemd separates several by colons; the first is ours.
        return Path(service.partition(":")[0])
    home = os.environ.get("XDG_STATE_HOME")
    # The XDG specification wants relative paths ignored.
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "natkit" / "stun-server"


def load_keys(data_dir: Path) -> Keys:
    """Read the keys of ``data_dir``, or make them; ConfigError when neither can be."""
    path = data_dir / KEYS_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path, ephemeral_keys())
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; chmod 600 {path}")
        return _parse(path.read_text(), path)
    except OSError as error:
        raise ConfigError(
            f"cannot keep keys in {data_dir}: {error.strerror}; choose a directory by --data-dir"
        ) from error


def _parse(text: str, path: Path) -> Keys:
    try:
        content: object = json.loads(text)
        if isinstance(content, dict) and isinstance(content.get("nonce"), str):
            nonce = bytes.fromhex(content["nonce"])
            if len(nonce) == NONCE_KEY_LENGTH:
                return Keys(nonce)
    except ValueError:
        pass
    raise ConfigError(f"{path} holds no keys; delete it and new ones are made")


def _create(path: Path, keys: Keys) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Another server was quicker; its keys count.
        return
    with os.fdopen(descriptor, "w") as file:
        json.dump({"nonce": keys.nonce.hex()}, file)
        file.write("\n")
