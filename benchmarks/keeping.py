"""How figures are kept: a file of JSON for each benchmark and commit."""

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["keep"]


def keep(file: Path, benchmark: str, schema: int, content: Mapping[str, object]) -> Path:
    """Write the file, over an earlier one; it says which benchmark it is of, in which schema."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {"schema": schema, "benchmark": benchmark, **content}
    file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return file
