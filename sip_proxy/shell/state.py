"""What the proxy keeps between its runs: the data directory, and the keys in it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from natkit.server import state
from natkit.server.state import KEY_LENGTH

__all__ = ["PROGRAM", "SYSTEM_DATA_DIR", "Keys", "default_data_dir", "ephemeral_keys", "load_keys"]

PROGRAM = "sip-proxy"

SYSTEM_DATA_DIR = state.system_data_dir(PROGRAM)
"""Where the service of the packaged unit keeps its data."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets that outlive a restart, and that proxies with one location store share."""

    main: bytes = field(repr=False)
    """Signs nonces, flow tokens and temporary GRUUs: with it kept, phones go on with theirs."""


def ephemeral_keys() -> Keys:
    """Keys for one run."""
    return Keys(os.urandom(KEY_LENGTH))


def default_data_dir() -> Path:
    """Where the data are that no option places."""
    return state.default_data_dir(PROGRAM)


def load_keys(data_dir: Path, main: bytes | None = None) -> Keys:
    """The key of the configuration, or that of ``data_dir``, which is made where there is none.

    ConfigError when nothing can be kept in ``data_dir``.
    """
    kept = state.load_keys(data_dir, ("main",))["main"]
    return Keys(kept if main is None else main)
