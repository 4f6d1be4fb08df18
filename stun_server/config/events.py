"""``[events]``: who is told over HTTP what becomes of sessions."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.config.tables import Table
from natkit.server.config.values import HttpUrl, Secret

__all__ = ["Events"]


class Events(Table):
    """What becomes of sessions, sent by HTTP to a program of yours."""

    url: HttpUrl | None = None
    """The http: or https: URL to which events are sent by POST; none: nobody is told."""
    token: Secret | None = None
    """What is shown there, as ``Authorization: Bearer``; none: nothing."""
    queue: Annotated[int, Field(ge=100, le=1_000_000, strict=True)] = 10_000
    """Events that wait, of each worker, while the program does not answer; then the oldest go."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.token is not None and self.url is None:
            raise MisuseError("token belongs to url, which is not there")
        return self
