"""What the server keeps between its runs: the data directory, and the keys in it."""

import os
from dataclasses import dataclass
from pathlib import Path

from natkit.server import state
from natkit.server.state import KEY_LENGTH

__all__ = ["PROGRAM", "SYSTEM_DATA_DIR", "Keys", "default_data_dir", "ephemeral_keys", "load_keys"]

PROGRAM = "stun-server"

SYSTEM_DATA_DIR = state.system_data_dir(PROGRAM)
"""Where the service of the packaged unit keeps its data."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets that outlive a restart."""

    nonce: bytes
    """Signs nonces: with it kept, clients go on with those that they have."""


def ephemeral_keys() -> Keys:
    """Keys for one run."""
    return Keys(nonce=os.urandom(KEY_LENGTH))


def default_data_dir() -> Path:
    """Where the data are that no option places."""
    return state.default_data_dir(PROGRAM)


def load_keys(data_dir: Path) -> Keys:
    """Read the keys of ``data_dir``, or make them; ConfigError when neither can be."""
    return Keys(state.load_keys(data_dir, ("nonce",))["nonce"])
