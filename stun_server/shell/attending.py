"""Who attends to a server that runs: its operator by a socket, and the service manager."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from natkit.server.amounts import count
from natkit.server.log import Logger
from natkit.server.reports import Drain
from natkit.server.service_manager import ServiceManager
from stun_server.administration import Administration
from stun_server.shell.admin_commands import open_socket

__all__ = ["Attendants", "attended"]

# Seconds that closing everything may take after a drain.
_CLOSING = 10.0


class Attendants:
    """Whom to tell what changes."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager

    def draining(self, drain: Drain) -> None:
        """A drain began, or got another limit."""
        self._manager.stopping(
            f"draining, {count(drain.sessions, 'session')} left",
            drain.until - drain.since + _CLOSING,
        )


@asynccontextmanager
async def attended(
    data_dir: Path | None, administration: Administration, logger: Logger
) -> AsyncIterator[Attendants]:
    """Within, the server can be steered through ``data_dir``, and systemd knows that it serves."""
    manager = ServiceManager.of_environment(os.environ)
    opened = None
    if data_dir is not None:
        opened = await open_socket(data_dir, administration, logger)
    try:
        async with manager.kept_informed():
            manager.ready("serving")
            yield Attendants(manager)
    finally:
        if opened is not None:
            await opened.aclose()
