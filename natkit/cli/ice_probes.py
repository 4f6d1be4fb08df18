"""The data test of ``natkit ice connect``: probes there and back, and who echoes those of the peer.

A probe is 8 bytes of magic, a kind, and a number; both ends send, echo, and say when they are done.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from natkit.aio.ice import Agent
from natkit.errors import UnreachableError

__all__ = ["Outcome", "exchange_probes"]

_MAGIC: Final = b"natkit/1"
_LENGTH: Final = len(_MAGIC) + 5

LAST_ANSWER: Final = 2.0
"""Seconds that the last probe may be on its way."""

GOODBYE: Final = 0.3
"""Seconds between two words that we are done."""

FAREWELL_LIMIT: Final = 5.0
"""Seconds that the peer has to be done after us, and longer while its probes still come."""


class _Kind(IntEnum):
    PROBE = 1
    ECHO = 2
    DONE = 3


@dataclass(slots=True)
class Outcome:
    """What came of our probes; times in seconds."""

    sent: int = 0
    round_trips: list[float] = field(default_factory=list)
    echoed: int = 0
    """Probes of the peer that came."""

    @property
    def lost(self) -> int:
        """Probes without an answer."""
        return self.sent - len(self.round_trips)


async def exchange_probes(agent: Agent, count: int, interval: float) -> Outcome:
    """Send ``count`` probes, ``interval`` seconds apart, and echo the peer's meanwhile."""
    test = _Test(agent)
    listener = asyncio.ensure_future(test.listen())
    try:
        await test.send(count, interval)
        await test.say_goodbye()
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
    return test.outcome


class _Test:
    def __init__(self, agent: Agent) -> None:
        self.outcome = Outcome()
        self._agent = agent
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, float] = {}
        self._news = asyncio.Event()
        self._peer_is_done = False
        self._last_heard = self._loop.time()

    async def listen(self) -> None:
        """Echo, and take echoes, until the agent ends."""
        while True:
            data = await self._agent.receive()
            if len(data) < _LENGTH or not data.startswith(_MAGIC):
                continue
            kind = data[len(_MAGIC)]
            number = int.from_bytes(data[len(_MAGIC) + 1 : _LENGTH], "big")
            self._last_heard = self._loop.time()
            if kind == _Kind.PROBE:
                self.outcome.echoed += 1
                await self._say(_Kind.ECHO, number)
            elif kind == _Kind.ECHO:
                sent_at = self._waiting.pop(number, None)
                if sent_at is not None:
                    self.outcome.round_trips.append(self._loop.time() - sent_at)
            elif kind == _Kind.DONE:
                self._peer_is_done = True
            self._news.set()

    async def send(self, count: int, interval: float) -> None:
        """All probes, and the wait for the last answers."""
        for number in range(count):
            self._waiting[number] = self._loop.time()
            self.outcome.sent += 1
            await self._say(_Kind.PROBE, number)
            if number + 1 < count:
                await asyncio.sleep(interval)
        await self._until(LAST_ANSWER, lambda: not self._waiting)

    async def say_goodbye(self) -> None:
        """Say that we are done until the peer is, too."""
        while not self._peer_is_done:
            await self._say(_Kind.DONE, 0)
            await self._until(GOODBYE, lambda: self._peer_is_done)
            if self._loop.time() - self._last_heard > FAREWELL_LIMIT:
                return
        # It may not have heard of ours yet, and waits for it.
        for _ in range(3):
            await self._say(_Kind.DONE, 0)

    async def _say(self, kind: _Kind, number: int) -> None:
        try:
            await self._agent.send(_MAGIC + bytes([kind]) + number.to_bytes(4, "big"))
        except UnreachableError:
            # Between two pairs it is a datagram that is lost.
            pass

    async def _until(self, limit: float, done: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(limit):
                while not done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
