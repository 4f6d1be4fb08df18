"""``[hooks]``: policies in Python."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table

__all__ = ["HookOptions"]


class HookOptions(Table):
    """Policies in Python, as docs/guides/policies.md tells."""

    file: Path | None = None
    """A Python file that has ``hooks = …``; none: no file."""
    module: Annotated[str, Field(min_length=1)] | None = None
    """A module that can be imported and has the same; none: no module."""
    deadline: Annotated[float, Field(gt=0, le=9)] = 2.0
    """Seconds in which a hook decides; then its request fails with 500."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.file is not None and self.module is not None:
            raise MisuseError("file and module are two places for the same: name one")
        return self

    @property
    def source(self) -> Path | str | None:
        """Where the hooks are, if there are any."""
        return self.file or self.module
