"""Which running server a command means: each is asked through the socket in its data directory."""

from pathlib import Path

from natkit.errors import ConfigError
from natkit.server.attending import SOCKET
from natkit.server.config.reading import data_dir_of
from natkit.server.state import default_data_dir, system_data_dir

__all__ = ["place_of"]


def place_of(program: str, config: Path | None, data_dir: Path | None) -> Path:
    """The data directory of the server that is meant.

    It is the one named, else the configuration's, else that of the caller's own server, else that
    of the service.  ConfigError when a directory that is named is none.
    """
    if data_dir is None and config is not None:
        data_dir = data_dir_of(config)
    if data_dir is not None:
        if not data_dir.is_dir():
            raise ConfigError(f"there is no data directory {data_dir}")
        return data_dir
    own, system = default_data_dir(program), system_data_dir(program)
    return system if not _may_serve(own) and _may_serve(system) else own


def _may_serve(data_dir: Path) -> bool:
    try:
        return (data_dir / SOCKET).exists()
    except PermissionError:
        # Whoever asks there is told whose it is.
        return True
