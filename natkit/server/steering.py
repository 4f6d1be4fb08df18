"""Drain a running server, or have it read its configuration again: both ends of its Unix socket.

:mod:`natkit.server.steering_commands` has the commands, and
:mod:`natkit.server.admin.steering_pages` what pages ask for.
"""

from collections.abc import Mapping
from pathlib import Path

from natkit.errors import MisuseError
from natkit.server.admin_socket import Handler, ask_for
from natkit.server.attending import SOCKET
from natkit.server.reports import DRAIN, RELOAD, Drain, Reload, Steered

__all__ = ["SocketSteering", "steering_handlers"]


def steering_handlers(server: Steered) -> Mapping[str, Handler]:
    """What its socket does."""

    async def drain(arguments: Mapping[str, object]) -> object:
        limit = arguments.get("limit")
        if limit is not None and not (isinstance(limit, int | float) and limit >= 0):
            raise MisuseError("limit is in seconds, 0 or more")
        return DRAIN.dump_python(await server.drain(limit), mode="json")

    async def reload(_: Mapping[str, object]) -> object:
        return RELOAD.dump_python(await server.reload(), mode="json")

    return {"drain": drain, "reload": reload}


class SocketSteering:
    """The server of a data directory, which is asked through its socket.

    Methods raise UnreachableError when no server answers, MisuseError when it refuses.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / SOCKET
        """Of the socket."""

    async def drain(self, limit: float | None = None) -> Drain:
        """Let nothing new begin, and end once nothing is left."""
        return await ask_for(DRAIN, self.path, "drain", limit=limit)

    async def reload(self) -> Reload:
        """Read the configuration again."""
        return await ask_for(RELOAD, self.path, "reload")
