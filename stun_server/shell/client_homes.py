"""Where the allocations' clients are: told to the plane, and to who closes idle connections."""

from collections.abc import Callable
from functools import partial

from natkit.machine import Path, Transport
from natkit.relay.plane import RelayPlane
from stun_server.events import (
    AllocationDetached,
    AllocationMoved,
    ClientExpected,
    ClientUnexpected,
)

__all__ = ["ClientHomes"]

Write = Callable[[bytes], None]


class ClientHomes:
    """Follows the clients of allocations from path to path (RFC 8016).

    ``write`` sends a message on a connection.  ``on_streams`` are the connections that allocations
    use or are about to use, which the idle limit spares.
    """

    def __init__(self, plane: RelayPlane, write: Callable[[Path, bytes], None]) -> None:
        self.on_streams: dict[Path, int] = {}
        self._plane = plane
        self._write = write
        self._expected: dict[int, Path] = {}

    def open(self, number: int, client: Path) -> Write | None:
        """A client is here; what the plane writes to it by, if it is on a connection."""
        if client.transport is Transport.UDP:
            return None
        self.on_streams[client] = number
        return partial(self._write, client)

    def follow(
        self, event: ClientExpected | ClientUnexpected | AllocationMoved | AllocationDetached
    ) -> None:
        """A client moves."""
        match event:
            case ClientExpected(number, client):
                self._expected[number] = client
                self.open(number, client)
                self._plane.expect(number, client)
            case ClientUnexpected(number, client):
                del self._expected[number]
                self._leave(number, client)
                self._plane.expect(number, None)
            case AllocationMoved(number, before, client):
                del self._expected[number]
                self._leave(number, before)
                self._plane.move(number, client, self.open(number, client))
            case AllocationDetached(number, client):
                self._leave(number, client)
                self._plane.move(number, None)

    def close(self, number: int, client: Path) -> None:
        """An allocation is gone, and its client with it."""
        self._leave(number, client)
        expected = self._expected.pop(number, None)
        if expected is not None:
            self._leave(number, expected)

    def _leave(self, number: int, client: Path) -> None:
        if self.on_streams.get(client) == number:
            del self.on_streams[client]
