"""The administration through a Unix socket: both ends of it."""

from collections.abc import Mapping

from natkit.errors import MisuseError
from natkit.server.admin_socket import Handler, ask, ask_for
from natkit.server.steering import SocketSteering, steering_handlers
from stun_server.administration import (
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

    return {
        "status": status,
        "sessions": sessions,
        "disconnect": disconnect,
        **steering_handlers(administration),
    }


class SocketAdministration(SocketSteering):
    """The :class:`~stun_server.administration.Administration` of the server of a data directory.

    Methods raise UnreachableError when no server answers, MisuseError when it refuses.
    """

    async def status(self) -> Status:
        """How the server fares now."""
        return await ask_for(STATUS, self.path, "status")

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        """The live allocations, the oldest first."""
        return await ask_for(SESSIONS, self.path, "sessions", limit=limit)

    async def disconnect(self, session: str) -> bool:
        """End an allocation by its id."""
        return await ask(self.path, "disconnect", session=session) is True
