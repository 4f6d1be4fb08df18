"""What systemd is told of a service: sd_notify(3), the watchdog, and time to stop in."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

__all__ = ["ServiceManager"]

_MICROSECONDS = 1_000_000


class ServiceManager:
    """Tells the service manager how this process fares; without one it tells nobody.

    ``address`` is where it listens, None for nowhere.  ``watchdog`` is after how many seconds
    without a sign of life it ends the service, None for never.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self._address = address
        self.watchdog = watchdog if address is not None else None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Self:
        """As systemd says by NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            # systemd has others (vsock:, for virtual machines), which it does not give to services.
            address = None
        watchdog = None
        text = environment.get("WATCHDOG_USEC", "")
        if text.isdecimal() and int(text) and _is_own(environment.get("WATCHDOG_PID")):
            watchdog = int(text) / _MICROSECONDS
        return cls(address, watchdog)

    def ready(self, status: str) -> None:
        """The service serves; ``status`` is a line for ``systemctl status``."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """The line for ``systemctl status`` changed."""
        self._tell(f"STATUS={status}")

    def stopping(self, status: str, within: float) -> None:
        """The service ends by itself within so many seconds, and is not to be ended before."""
        microseconds = round(within * _MICROSECONDS)
        self._tell("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={microseconds}")

    @asynccontextmanager
    async def kept_informed(self) -> AsyncIterator[None]:
        """Within, the watchdog gets its signs of life, as long as the event loop turns."""
        if self.watchdog is None:
            yield
            return
        task = asyncio.create_task(self._give_signs(self.watchdog / 2))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _give_signs(self, interval: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        # An @ stands for the NUL byte before a name that is in no file system (unix(7)).
        name = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        # A service serves on, whether it is heard or not.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), name)


def _is_own(process: str | None) -> bool:
    return process is None or process == str(os.getpid())
