"""The configuration from a TOML file and flags."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from natkit.server.config.reading import Flag, contents
from natkit.server.config.reading import validated as validated_as
from sip_proxy.config.model import Config

__all__ = ["load", "validated"]


def load(file: Path | None, flags: Sequence[Flag] = ()) -> Config:
    """Read and check the configuration; ConfigError says in one line what is wrong and where."""
    return validated(contents(file, flags), file, flags)


def validated(
    content: Mapping[str, object], file: Path | None = None, flags: Sequence[Flag] = ()
) -> Config:
    """Check what ``contents`` gave; ConfigError says what is wrong, and where in which file."""
    return validated_as(Config, content, file, flags)
