"""Records as rows of a table, the same in every database."""

import json
from typing import Final

from sip_proxy.calls import CallRecord

__all__ = ["COLUMNS", "TABLE", "row_of"]

TABLE: Final = "natkit_call_records"

COLUMNS: Final = (
    ("call_id", "text NOT NULL"),
    ("sender", "text NOT NULL"),
    ("receiver", "text NOT NULL"),
    ("request_uri", "text NOT NULL"),
    ("username", "text NOT NULL"),
    ("source", "text NOT NULL"),
    ("started", "double precision NOT NULL"),
    ("ringing", "double precision"),
    ("answered", "double precision"),
    ("ended", "double precision NOT NULL"),
    ("duration", "double precision NOT NULL"),
    ("status", "integer NOT NULL"),
    ("reason", "text NOT NULL"),
    ("released_by", "text NOT NULL"),
    ("target", "text NOT NULL"),
    ("answered_by", "text NOT NULL"),
    ("branches", "text NOT NULL"),
)
"""Names and types; ``branches`` is a JSON array."""


def row_of(record: CallRecord) -> tuple[object, ...]:
    """The values of :data:`COLUMNS`."""
    described = record.described()
    values = {
        **described,
        "sender": described["from"],
        "receiver": described["to"],
        "username": described["user"],
        "branches": json.dumps(described["branches"], separators=(",", ":")),
    }
    return tuple(_storable(values[name]) for name, _ in COLUMNS)


def _storable(value: object) -> object:
    # What somebody wrote into From may be no UTF-8, and hold what PostgreSQL takes for no text.
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "replace").decode().replace("\0", "?")
