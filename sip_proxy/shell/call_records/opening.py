"""From what a configuration says to a place for the records of calls."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from natkit.cli.entry import extra
from natkit.errors import ConfigError
from sip_proxy.shell.call_records.json_lines import JsonLines
from sip_proxy.shell.call_records.recording import Recording, Writer
from sip_proxy.shell.call_records.sqlite import SqliteRecords

__all__ = ["CALL_RECORDS", "KINDS", "recording_at"]

CALL_RECORDS: Final = frozenset({"none", "file", "sqlite", "postgresql"})
"""What the place of call records begins with."""

KINDS: Final = "file:FILE, sqlite:FILE, postgresql://… or none"
"""What it may be, for people."""


def recording_at(
    url: str, on_change: Callable[[str | None], None] = lambda _: None
) -> Recording | None:
    """Where ``url`` says; nothing is opened yet.  ConfigError for another kind.

    A file has JSON lines.
    """
    writer = _writer_at(url)
    return None if writer is None else Recording(writer, on_change)


def _writer_at(url: str) -> Writer | None:
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "none" if not colon:
            return None
        case "file" if rest and not rest.startswith("//"):
            return JsonLines(Path(rest))
        case "sqlite" if rest and not rest.startswith("//"):
            return SqliteRecords(Path(rest))
        case "postgresql" if colon:
            with extra("postgresql", "call records in postgresql"):
                # Here, so that who uses another place needs none of it.
                from sip_proxy.shell.call_records.postgresql import (  # noqa: PLC0415
                    PostgresqlRecords,
                )

                return PostgresqlRecords(url)
        case _:
            raise ConfigError(f"call records are kept in {KINDS}")
