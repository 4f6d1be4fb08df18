"""``[admin]`` and ``[log]``: what operators see."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.admin.rules import is_loopback
from natkit.server.config.tables import Table
from natkit.server.config.values import AdminAddress, HostName, Switch, Token

__all__ = ["Admin", "Log", "LogLevel"]

LogLevel = Literal["debug", "info", "warning", "error"]


class Admin(Table):
    """The server over HTTP: status page, metrics, health."""

    listen: AdminAddress | None = None
    """Where operators come in, as ``ADDRESS:PORT``; nowhere without it."""
    token: Token | None = None
    """What operators have to show, at least 16 characters; needed off loopback."""
    hosts: tuple[HostName, ...] = ()
    """The host names by which browsers reach the listener, besides addresses and localhost."""
    tls: Switch = False
    """Whether all of this is served by HTTPS, with the certificate of ``[listeners]``."""

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if self.listen is not None and self.token is None and not is_loopback(self.listen):
            raise MisuseError(
                f"{self.listen} is not on loopback, so it needs a token "
                '(admin.token = {file = "PATH"}); or listen on 127.0.0.1'
            )
        return self


class Log(Table):
    """What is logged, and how; to the standard error."""

    level: LogLevel = "info"
    """What is logged: "debug", "info", "warning" or "error", and what is above."""
    as_json: Annotated[bool, Field(alias="json", strict=True)] = False
    """Whether each line is a JSON object."""
