"""``[admin]`` and ``[credentials]``: what operators and their programs see."""

from typing import Annotated

from pydantic import Field

from natkit.server.config import operating
from natkit.server.config.tables import Table
from natkit.server.config.values import AdminAddress, Token
from stun_server.config.values import Origin, Uri

__all__ = ["Admin", "CredentialService"]


class Admin(operating.Admin):
    """The server over HTTP: status page, metrics, health, connectivity test."""

    public: AdminAddress | None = None
    """Where everybody finds the connectivity test, and programs the credentials; no more."""


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
