"""Allocations that were given to another worker and are not known to have arrived (RFC 8016).

The other worker may have given up the waiting, or died.  So this one keeps their relay sockets too,
and takes back what did not arrive: nothing is lost by a move that failed.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from natkit.address import Address
from natkit.errors import HandoverRefused, UnreachableError

__all__ = ["SILENCE", "Parting"]

SILENCE = 10.0
"""Seconds without a word of the other worker, after which it is asked."""


@dataclass(slots=True, eq=False)
class _Leaving:
    receiver: int
    sockets: dict[Address, socket.socket]
    timer: asyncio.TimerHandle


class Parting:
    """Keeps the sockets; ``take_back`` is given those of an allocation that goes on here.

    ``ask`` has a worker say whether it has the allocation of a relayed address; it raises as
    Correspondence.ask does.
    """

    def __init__(
        self,
        ask: Callable[[int, Address], Awaitable[bool]],
        take_back: Callable[[bytes, int, dict[Address, socket.socket]], None],
        silence: float = SILENCE,
    ) -> None:
        self._ask = ask
        self._take_back = take_back
        self._silence = silence
        self._loop = asyncio.get_running_loop()
        self._leaving: dict[bytes, _Leaving] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._leaving)

    def part(
        self, ticket: bytes, receiver: int, sockets: dict[Address, socket.socket]
    ) -> tuple[int, ...]:
        """Give an allocation away; the descriptors to send, in the order of ``sockets``."""
        self._leaving[ticket] = _Leaving(receiver, sockets, self._later(ticket))
        return tuple(os.dup(each.fileno()) for each in sockets.values())

    def concluded(self, ticket: bytes, receiver: int, *, taken: bool) -> bool:
        """The other worker says whether it has it; False when that is no news."""
        leaving = self._leaving.get(ticket)
        if leaving is None or leaving.receiver != receiver:
            return False
        del self._leaving[ticket]
        leaving.timer.cancel()
        if taken:
            for sock in leaving.sockets.values():
                sock.close()
        else:
            self._take_back(ticket, receiver, leaving.sockets)
        return True

    def gone(self, worker: int) -> None:
        """A worker died; what it has confirmed died with it, and nothing else."""
        for ticket, leaving in tuple(self._leaving.items()):
            if leaving.receiver == worker:
                self.concluded(ticket, worker, taken=False)

    async def aclose(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for leaving in self._leaving.values():
            leaving.timer.cancel()
            for sock in leaving.sockets.values():
                sock.close()
        self._leaving.clear()

    def _later(self, ticket: bytes) -> asyncio.TimerHandle:
        return self._loop.call_later(self._silence, self._wonder, ticket)

    def _wonder(self, ticket: bytes) -> None:
        task = self._loop.create_task(self._find_out(ticket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_out(self, ticket: bytes) -> None:
        leaving = self._leaving.get(ticket)
        if leaving is None:
            return
        try:
            taken = await self._ask(leaving.receiver, next(iter(leaving.sockets)))
        except HandoverRefused:
            # It is not there at all, or begins anew.
            taken = False
        except UnreachableError:
            # It stands still, and may have it.  Its supervisor kills it if that does not end.
            if self._leaving.get(ticket) is leaving:
                leaving.timer = self._later(ticket)
            return
        self.concluded(ticket, leaving.receiver, taken=taken)
