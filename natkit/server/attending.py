"""Who attends to a server that runs: its operator by a socket, and the service manager."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from natkit.errors import ConfigError
from natkit.server.admin_socket import AdminSocket, Handler
from natkit.server.amounts import count
from natkit.server.log import Logger
from natkit.server.reports import Drain
from natkit.server.service_manager import ServiceManager

__all__ = ["SOCKET", "Attendants", "attended"]

SOCKET = "admin.sock"
"""The name of the socket in the data directory."""

# Seconds that closing everything may take after a drain.
_CLOSING = 10.0


class Attendants:
    """Whom to tell what changes; ``noun`` is what a drain waits for, in the singular."""

    def __init__(self, manager: ServiceManager, noun: str) -> None:
        self._manager = manager
        self._noun = noun

    def draining(self, drain: Drain) -> None:
        """A drain began, or got another limit."""
        self._manager.stopping(
            f"draining, {count(drain.sessions, self._noun)} left",
            drain.until - drain.since + _CLOSING,
        )


@asynccontextmanager
async def attended(
    data_dir: Path | None,
    commands: Mapping[str, Handler],
    logger: Logger,
    *,
    noun: str = "session",
) -> AsyncIterator[Attendants]:
    """Within, the server can be steered through ``data_dir``, and systemd knows that it serves."""
    manager = ServiceManager.of_environment(os.environ)
    opened = None
    if data_dir is not None:
        opened = await _open_socket(data_dir, commands, logger)
    try:
        async with manager.kept_informed():
            manager.ready("serving")
            yield Attendants(manager, noun)
    finally:
        if opened is not None:
            await opened.aclose()


async def _open_socket(
    data_dir: Path, commands: Mapping[str, Handler], logger: Logger
) -> AdminSocket | None:
    """Serve the commands in ``data_dir``; without a socket to be had the log says so, and None."""
    try:
        return await AdminSocket.open(data_dir / SOCKET, commands)
    except ConfigError as error:
        logger.warning(
            "no administration",
            reason=str(error),
            to_do="give each server a --data-dir of its own",
        )
        return None
