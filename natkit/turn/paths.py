"""The ways of one allocation to its server: the sockets and streams that the shell opens for it."""

from collections.abc import Callable
from typing import Final

from natkit.address import Address, Family
from natkit.errors import NatkitError, TlsFailed, UnreachableError
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    RequestId,
    Transport,
)

__all__ = ["OPEN_TIMEOUT", "Paths", "why"]

OPEN_TIMEOUT: Final = 30.0
"""Seconds that the shell has to open a socket or a stream."""

_ANY: Final = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - that is the point


class Paths:
    """Asks for paths, and closes those that are done with; ``tell`` takes what the shell is to do.

    ``local`` is the address to speak from, with port 0 for any; without it the system chooses.
    ``current`` is the path in use, ``left`` the one before it, on which something may still come.
    """

    def __init__(
        self,
        server: Address,
        transport: Transport,
        local: Address | None,
        tell: Callable[[OpenSocket | Connect | CloseSocket | ClosePath], None],
    ) -> None:
        self.server = server
        self.local = local
        self.current: Path | None = None
        self.left: Path | None = None
        self._transport = transport
        self._tell = tell
        self._last_request_id = 0

    def ask(self) -> RequestId:
        """Ask the shell for another; its answer has this id."""
        self._last_request_id += 1
        if self._transport is not Transport.UDP:
            self._tell(Connect(self._last_request_id, self._transport, self.local, self.server))
        else:
            local = self.local or Address(_ANY[self.server.family], 0)
            self._tell(OpenSocket(self._last_request_id, local))
        return self._last_request_id

    def of(self, result: Address | Path) -> Path:
        """The path that the shell's answer means."""
        return result if isinstance(result, Path) else Path(self._transport, result, self.server)

    def decline(self, result: Address | Path | Failure) -> None:
        """Give back what the shell opened and nobody waits for any more."""
        if not isinstance(result, Failure):
            self.close(self.of(result))

    def close(self, path: Path) -> None:
        """Have the shell close it."""
        if path.transport is not Transport.UDP:
            self._tell(ClosePath(path))
        else:
            self._tell(CloseSocket(path.local))

    def close_current(self) -> bool:
        """Have no path any more; False when there was none."""
        path, self.current = self.current, None
        if path is not None:
            self.close(path)
        return path is not None

    def leave(self) -> None:
        """Be done with the path that was before the current one."""
        path, self.left = self.left, None
        if path is not None:
            self.close(path)

    def unreachable(self) -> UnreachableError:
        """What is said when the shell opened none in time."""
        return UnreachableError(f"no connection to {self.server}")


def why(failure: Failure) -> NatkitError:
    """What kept the shell from opening a path."""
    return TlsFailed(failure.reason) if failure.tls_failed else UnreachableError(failure.reason)
