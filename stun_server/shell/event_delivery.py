"""Sends events to a program of the operator's by HTTP; relaying never waits for it.

Events wait in a queue that has an end, and are sent in their order, many in one POST and one POST
at a time.  What is not answered with a status of 2xx is sent again, later and later, so that an
event may arrive twice; what the queue has no room for is counted and lost, the oldest first.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
from itertools import islice

import aiohttp

from natkit.server.log import Logger
from stun_server.shell.session_events import Event

__all__ = ["BATCH", "LAST_WORDS", "EventDelivery"]

BATCH = 100
"""Events in one POST at most."""

ANSWER_LIMIT = 10.0
"""Seconds that the program has to answer."""

LAST_WORDS = 3.0
"""Seconds in which the server's end waits for what is left to be sent."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class EventDelivery:
    """Delivers to ``url``, in the running event loop, until :meth:`aclose`."""

    def __init__(self, url: str, token: str | None, most: int, logger: Logger) -> None:
        self.lost = 0
        """Events that the queue had no room for."""
        self.sent = 0
        """Events that were taken."""
        self._url = url
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._most = most
        self._logger = logger
        self._queue: deque[Event] = deque()
        # How many of them are being sent: they are dropped when they have arrived.
        self._under_way = 0
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._failing = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    def put(self, event: Event) -> None:
        """Send it soon."""
        if len(self._queue) >= self._most:
            self._queue.popleft()
            self._under_way = max(0, self._under_way - 1)
            self.lost += 1
        self._queue.append(event)
        self._wake.set()

    async def aclose(self) -> None:
        """Send what is left, if that can be done soon."""
        self._closing.set()
        self._wake.set()
        done, _ = await asyncio.wait([self._task], timeout=LAST_WORDS)
        if not done:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._queue:
            self._logger.warning("events not sent", count=len(self._queue))

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(ANSWER_LIMIT), headers=self._headers
        ) as session:
            while True:
                if not self._queue:
                    if self._closing.is_set():
                        return
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                batch = tuple(islice(self._queue, BATCH))
                self._under_way = len(batch)
                reason = await self._post(session, batch)
                if reason is None:
                    pause = _FIRST_PAUSE
                    self._arrived(len(batch))
                    continue
                self._failed(reason)
                if self._closing.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._closing.wait()
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _post(self, session: aiohttp.ClientSession, batch: Sequence[Event]) -> str | None:
        """Why they did not arrive."""
        body = json.dumps({"schema": 1, "events": batch}).encode()
        try:
            async with session.post(self._url, data=body, allow_redirects=False) as answer:
                return None if 200 <= answer.status < 300 else f"status {answer.status}"
        except TimeoutError:
            return f"no answer in {ANSWER_LIMIT:g} s"
        except aiohttp.ClientError as error:
            return str(error)

    def _arrived(self, count: int) -> None:
        self.sent += count
        # Some of them may have given way meanwhile.
        for _ in range(self._under_way):
            self._queue.popleft()
        self._under_way = 0
        if self._failing:
            self._failing = False
            self._logger.info("events arrive again", url=self._url, waiting=len(self._queue))

    def _failed(self, reason: str) -> None:
        self._under_way = 0
        if not self._failing:
            self._failing = True
            self._logger.warning("events do not arrive", url=self._url, reason=reason)
