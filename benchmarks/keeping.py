"""How figures are kept: a file of JSON for each benchmark and commit."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

from pydantic import TypeAdapter

__all__ = ["Figures"]


@dataclass(slots=True)
class Figures:
    """What a run of ``benchmark`` gave; ``schema`` is that of its file.

    ``date`` is ISO 8601's, ``machine`` what a reader should know of it.
    """

    benchmark: ClassVar[str]
    schema: ClassVar[int] = 1

    commit: str
    date: str
    machine: str

    @classmethod
    def file(cls, directory: Path, commit: str) -> Path:
        """Where those of a commit are kept: ``BENCHMARK-COMMIT.json``."""
        return directory / f"{cls.benchmark}-{commit}.json"

    def keep(self, directory: Path) -> Path:
        """Write the file, over an earlier one of the same commit, and give its path."""
        file = self.file(directory, self.commit)
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = {"schema": self.schema, "benchmark": self.benchmark, **asdict(self)}
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        return file

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what :meth:`keep` wrote; ValueError for a file of another benchmark or schema."""
        content = json.loads(file.read_text(encoding="utf-8"))
        if (content["schema"], content["benchmark"]) != (cls.schema, cls.benchmark):
            raise ValueError(f"{file} is no result of this benchmark")
        return TypeAdapter(cls).validate_python(content)
