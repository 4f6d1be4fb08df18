"""Writes records beside the calls: nothing waits for a disk or a database.

Records that come while others are being written go together next.  What cannot be written is tried
again every second, in its order, so a full disk or a database that was restarted loses nothing as
long as there is room for what waits.  A record whose database went away while it committed may be
there twice; none is missing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from sip_proxy.calls import CallRecord

__all__ = ["LARGEST_WAITING", "Recording", "Writer"]

LARGEST_WAITING: Final = 10_000
"""Records that wait to be written: some 10 MB.  One more is lost, and counted."""

LARGEST_GROUP: Final = 500
"""Records that are written at once."""

RETRY_INTERVAL: Final = 1.0
CLOSE_LIMIT: Final = 5.0
"""Seconds in which the last records must be written when the proxy ends."""


class Writer(Protocol):
    """Keeps records; every method but ``aclose`` raises whatever goes wrong, and may be retried."""

    @property
    def name(self) -> str:
        """Where they are kept, for people; without passwords."""
        ...

    async def open(self) -> None:
        """Make ready; ConfigError for what waiting does not heal."""
        ...

    async def write(self, records: Sequence[CallRecord]) -> None:
        """Keep all of them, or none; they are kept once this returns.

        None at all are given to find out whether it is possible.
        """
        ...

    async def aclose(self) -> None:
        """Let go of it."""
        ...


class Recording:
    """Gives records to a writer; ``lost`` counts those that there was no room or time for.

    ``on_change`` is told why nothing can be written, and by None when it can again.
    """

    def __init__(self, writer: Writer, on_change: Callable[[str | None], None]) -> None:
        self.lost = 0
        self.failure: str | None = None
        self._writer = writer
        self._on_change = on_change
        self._waiting: deque[CallRecord] = deque()
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Where the records are kept."""
        return self._writer.name

    def __len__(self) -> int:
        """How many wait to be written."""
        return len(self._waiting)

    async def open(self) -> None:
        """Begin; ConfigError when the place cannot be had."""
        await self._writer.open()
        self._task = asyncio.get_running_loop().create_task(self._write())

    def put(self, record: CallRecord) -> None:
        """Have a record written soon."""
        if len(self._waiting) >= LARGEST_WAITING:
            self.lost += 1
            return
        self._waiting.append(record)
        self._arrived.set()

    async def aclose(self) -> None:
        """Write what waits, as far as that is possible in a little time, and close."""
        self._closing.set()
        self._arrived.set()
        if self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_LIMIT):
                    await self._task
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.lost += len(self._waiting)
        self._waiting.clear()
        await self._writer.aclose()

    async def _write(self) -> None:
        # Before the first call is over: an operator is to hear at once of a database that is down.
        await self._written(())
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                group = [self._waiting[index] for index in range(self._group_size)]
                if await self._written(group):
                    for _ in group:
                        self._waiting.popleft()
                elif self._closing.is_set():
                    return
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(RETRY_INTERVAL):
                            await self._closing.wait()
            if self._closing.is_set():
                return

    @property
    def _group_size(self) -> int:
        return min(len(self._waiting), LARGEST_GROUP)

    async def _written(self, group: Sequence[CallRecord]) -> bool:
        try:
            await self._writer.write(group)
        except Exception as error:  # noqa: BLE001 - drivers raise what they like
            self._changed(str(error) or type(error).__name__)
            return False
        self._changed(None)
        return True

    def _changed(self, failure: str | None) -> None:
        was_failing, self.failure = self.failure is not None, failure
        if was_failing is not (failure is not None):
            self._on_change(failure)
