"""The administration through a Unix socket: both ends of it."""

from collections.abc import Mapping
from pathlib import Path

from natkit.errors import MisuseError
from natkit.server.admin_socket import Handler, ask, ask_for
from natkit.server.attending import SOCKET
from natkit.server.reports import Drain, Reload
from stun_server.administration import (
    DRAIN,
    RELOAD,
    SESSIONS,
    STATUS,
    Administration,
    Session,
    Status,
)

__all__ = ["SocketAdministration", "handlers"]


def handlers(administration: Administration) -> Mapping[str, Handler]:
    """What the socket of a server does."""

    async def status(_: Mapping[str, object]) -> object:
        return STATUS.dump_python(await administration.status(), mode="json")

    async def sessions(arguments: Mapping[str, object]) -> object:
        limit = arguments.get("limit")
        if not isinstance(limit, int) or limit < 1:
            raise MisuseError("limit is the number of sessions to list, 1 or more")
        return SESSIONS.dump_python(await administration.sessions(limit), mode="json")

    async def disconnect(arguments: Mapping[str, object]) -> object:
        return await administration.disconnect(str(arguments.get("session")))

    async def drain(arguments: Mapping[str, object]) -> object:
        limit = arguments.get("limit")
        if limit is not None and not (isinstance(limit, int | float) and limit >= 0):
            raise MisuseError("limit is in seconds, 0 or more")
        return DRAIN.dump_python(await administration.drain(limit), mode="json")

    async def reload(_: Mapping[str, object]) -> object:
        return RELOAD.dump_python(await administration.reload(), mode="json")

    return {
        "status": status,
        "sessions": sessions,
        "disconnect": disconnect,
        "drain": drain,
        "reload": reload,
    }


class SocketAdministration:
    """The :class:`~stun_server.administration.Administration` of the server of a data directory.

    Methods raise UnreachableError when no server answers, MisuseError when it refuses.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / SOCKET

    async def status(self) -> Status:
        """How the server fares now."""
        return await ask_for(STATUS, self._path, "status")

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        """The live allocations, the oldest first."""
        return await ask_for(SESSIONS, self._path, "sessions", limit=limit)

    async def disconnect(self, session: str) -> bool:
        """End an allocation by its id."""
        return await ask(self._path, "disconnect", session=session) is True

    async def drain(self, limit: float | None = None) -> Drain:
        """Grant no more allocations, and end once there are none."""
        return await ask_for(DRAIN, self._path, "drain", limit=limit)

    async def reload(self) -> Reload:
        """Read the configuration again."""
        return await ask_for(RELOAD, self._path, "reload")
