"""Records in a file: a JSON object a line.

Each group of records goes to the operating system in one write, so a killed proxy loses none that
was written; to the disk it goes with it, by fdatasync.  The file is looked for before each group:
where it was renamed or removed, as logrotate does, another is begun, and nothing need be told.
"""

import asyncio
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from natkit.errors import ConfigError
from sip_proxy.calls import CallRecord

__all__ = ["JsonLines"]

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE = stat.S_IRUSR | stat.S_IWUSR
"""Whom people call concerns them alone."""


class JsonLines:
    """A :class:`~sip_proxy.shell.call_records.recording.Writer` that appends to a file."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._descriptor: int | None = None

    async def open(self) -> None:
        """Open or make the file; ConfigError when that is not possible."""
        try:
            await asyncio.to_thread(self._current)
        except OSError as error:
            raise ConfigError(f"call records in {self._path}: {error.strerror or error}") from error

    async def write(self, records: Sequence[CallRecord]) -> None:
        """Append them; OSError."""
        lines = [json.dumps(each.described(), separators=(",", ":")) for each in records]
        await asyncio.to_thread(self._append, "".join(f"{line}\n" for line in lines).encode())

    async def aclose(self) -> None:
        """Close the file."""
        self._close()

    def _append(self, data: bytes) -> None:
        descriptor = self._current()
        before = os.fstat(descriptor).st_size
        try:
            rest = data
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fdatasync(descriptor)
        except OSError:
            # The half of a line, on a full disk: the whole comes later.
            os.ftruncate(descriptor, before)
            raise

    def _current(self) -> int:
        """The file that has the name now."""
        if self._descriptor is not None:
            try:
                there, ours = self._path.stat(), os.fstat(self._descriptor)
            except FileNotFoundError:
                self._close()
            else:
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                    self._close()
        if self._descriptor is None:
            self._descriptor = os.open(self._path, _FLAGS, _MODE)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
