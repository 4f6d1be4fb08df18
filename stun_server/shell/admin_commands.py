"""The administration through a Unix socket: both ends of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from natkit.errors import ConfigError, MisuseError, UnreachableError
from natkit.server.admin_socket import AdminSocket, Handler, ask
from natkit.server.log import Logger
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

__all__ = ["SOCKET", "SocketAdministration", "handlers", "open_socket"]

T = TypeVar("T")

SOCKET = "admin.sock"
"""Its name in the data directory."""


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


async def open_socket(
    data_dir: Path, administration: Administration, logger: Logger
) -> AdminSocket | None:
    """Serve the commands in ``data_dir``; without a socket to be had the log says so, and None."""
    try:
        return await AdminSocket.open(data_dir / SOCKET, handlers(administration))
    except ConfigError as error:
        logger.warning(
            "no administration",
            reason=str(error),
            to_do="give each server a --data-dir of its own",
        )
        return None


class SocketAdministration:
    """The :class:`~stun_server.administration.Administration` of the server of a data directory.

    Methods raise UnreachableError when no server answers, MisuseError when it refuses.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / SOCKET

    async def status(self) -> Status:
        """How the server fares now."""
        return self._read(STATUS, await ask(self._path, "status"))

    async def sessions(self, limit: int) -> tuple[Session, ...]:
        """The live allocations, the oldest first."""
        return self._read(SESSIONS, await ask(self._path, "sessions", limit=limit))

    async def disconnect(self, session: str) -> bool:
        """End an allocation by its id."""
        return await ask(self._path, "disconnect", session=session) is True

    async def drain(self, limit: float | None = None) -> Drain:
        """Grant no more allocations, and end once there are none."""
        return self._read(DRAIN, await ask(self._path, "drain", limit=limit))

    async def reload(self) -> Reload:
        """Read the configuration again."""
        return self._read(RELOAD, await ask(self._path, "reload"))

    def _read(self, kind: TypeAdapter[T], answer: object) -> T:
        try:
            # JSON's rules, by which a tuple is a list and a number stands as a key.
            return kind.validate_json(_json(answer))
        except ValidationError as error:
            raise UnreachableError(
                f"the server at {self._path} is of another version: {error.error_count()} "
                "values are not understood"
            ) from error


def _json(answer: object) -> bytes:
    return _ANY.dump_json(answer)


_ANY = TypeAdapter(object)
