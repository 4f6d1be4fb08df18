"""The administration through a Unix socket: both ends of it."""

from collections.abc import Mapping
from pathlib import Path

from natkit.errors import MisuseError
from natkit.server.admin_socket import Handler, ask, ask_for
from natkit.server.attending import SOCKET
from natkit.server.reports import Drain, Reload
from sip_proxy.administration import (
    DRAIN,
    REGISTRATIONS,
    RELOAD,
    STATUS,
    Administration,
    Registration,
    Status,
)

__all__ = ["SocketAdministration", "handlers"]


def handlers(administration: Administration) -> Mapping[str, Handler]:
    """What the socket of a proxy does."""

    async def status(_: Mapping[str, object]) -> object:
        return STATUS.dump_python(await administration.status(), mode="json")

    async def registrations(arguments: Mapping[str, object]) -> object:
        limit, user = arguments.get("limit"), arguments.get("user")
        if not isinstance(limit, int) or limit < 1:
            raise MisuseError("limit is the number of registrations to list, 1 or more")
        if user is not None and not isinstance(user, str):
            raise MisuseError("user is a text")
        return REGISTRATIONS.dump_python(
            await administration.registrations(limit, user), mode="json"
        )

    async def unregister(arguments: Mapping[str, object]) -> object:
        return await administration.unregister(str(arguments.get("user")))

    async def drain(arguments: Mapping[str, object]) -> object:
        limit = arguments.get("limit")
        if limit is not None and not (isinstance(limit, int | float) and limit >= 0):
            raise MisuseError("limit is in seconds, 0 or more")
        return DRAIN.dump_python(await administration.drain(limit), mode="json")

    async def reload(_: Mapping[str, object]) -> object:
        return RELOAD.dump_python(await administration.reload(), mode="json")

    return {
        "status": status,
        "registrations": registrations,
        "unregister": unregister,
        "drain": drain,
        "reload": reload,
    }


class SocketAdministration:
    """The :class:`~sip_proxy.administration.Administration` of the proxy of a data directory.

    Methods raise UnreachableError when no proxy answers, MisuseError when it refuses.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / SOCKET

    async def status(self) -> Status:
        """How the proxy fares now."""
        return await ask_for(STATUS, self._path, "status")

    async def registrations(self, limit: int, user: str | None = None) -> tuple[Registration, ...]:
        """Who is registered."""
        return await ask_for(REGISTRATIONS, self._path, "registrations", limit=limit, user=user)

    async def unregister(self, address_of_record: str) -> bool:
        """Forget an address of record's bindings."""
        return await ask(self._path, "unregister", user=address_of_record) is True

    async def drain(self, limit: float | None = None) -> Drain:
        """Take no new calls and registrations, and end once no transaction is left."""
        return await ask_for(DRAIN, self._path, "drain", limit=limit)

    async def reload(self) -> Reload:
        """Read the configuration again."""
        return await ask_for(RELOAD, self._path, "reload")
