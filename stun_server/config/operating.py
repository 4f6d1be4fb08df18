"""``[admin]``, ``[credentials]`` and ``[log]``: what operators and their programs see."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from natkit.errors import MisuseError
from natkit.server.admin.rules import is_loopback
from stun_server.config.tables import Table
from stun_server.config.values import AdminAddress, HostName, Origin, Switch, Token, Uri

__all__ = ["Admin", "CredentialService", "Log", "LogLevel"]

LogLevel = Literal["debug", "info", "warning", "error"]


class Admin(Table):
    """The server over HTTP: status page, metrics, health, connectivity test."""

    listen: AdminAddress | None = None
    """Where operators come in, as ``ADDRESS:PORT``; nowhere without it."""
    token: Token | None = None
    """What operators have to show, at least 16 characters; needed off loopback."""
    hosts: tuple[HostName, ...] = ()
    """The host names by which browsers reach the listener, besides addresses and localhost."""
    tls: Switch = False
    """Whether both listeners speak HTTPS, with the certificate of ``[listeners]``."""
    public: AdminAddress | None = None
    """Where everybody finds the connectivity test, and programs the credentials; no more."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.listen is not None and self.token is None and not is_loopback(self.listen):
            raise MisuseError(
                f"{self.listen} is not on loopback, so it needs a token "
                '(admin.token = {file = "PATH"}); or listen on 127.0.0.1'
            )
        return self


class CredentialService(Table):
    """Time-limited credentials over HTTP, for the programs of a service."""

    token: Token | None = None
    """What programs have to show for credentials, at least 16 characters; nobody gets any
    without it."""
    lifetime: Annotated[int, Field(ge=60, le=30 * 86_400, strict=True)] = 86_400
    """Seconds for which they are good."""
    uris: tuple[Uri, ...] = ()
    """The URIs that clients are told, also by the connectivity test; without it, those of the
    listeners."""
    origins: tuple[Origin, ...] = ()
    """Other sites whose pages may fetch credentials by themselves (CORS)."""


class Log(Table):
    """What is logged, and how; to the standard error."""

    level: LogLevel = "info"
    """What is logged: "debug", "info", "warning" or "error", and what is above."""
    as_json: Annotated[bool, Field(alias="json", strict=True)] = False
    """Whether each line is a JSON object."""
