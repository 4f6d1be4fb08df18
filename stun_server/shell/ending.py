"""How a server of several workers ends: all of them together.

While one has a session the others keep their clients company: those that come get an answer, though
it is only where else to go, and those that move (RFC 8016) may arrive.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine

from natkit.errors import UnreachableError
from natkit.server.handover import Parcel
from natkit.server.log import Logger
from natkit.server.reports import Drain
from natkit.server.supervisor import Supervisor
from stun_server.combining import combined_drain
from stun_server.shell.crossing import AskLeft, BeginDrain, Left

__all__ = ["Ending"]

# Seconds.
_LOOK_EVERY = 1.0


def _nobody_listens(_: Drain) -> None:
    """Nobody wants to know of a drain."""


class Ending:
    """Drains the workers, and ends them when none has a session or time is up.

    ``limit`` says how many seconds that is, where whoever drains does not.  ``on_drain`` is told of
    each drain.
    """

    def __init__(self, supervisor: Supervisor, limit: Callable[[], float], logger: Logger) -> None:
        self.on_drain: Callable[[Drain], None] = _nobody_listens
        self._supervisor = supervisor
        self._limit = limit
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def terminate(self) -> None:
        """SIGTERM came: the first time it drains, then it ends; said again and again it kills."""
        if self._supervisor.is_stopping or not self._supervisor.serving:
            self._supervisor.stop(signal.SIGTERM)
        elif self._timer is not None:
            self._supervisor.stop(signal.SIGINT)
        else:
            self._do(self._begin())

    async def drain(self, limit: float | None = None) -> Drain:
        """Have all workers drain; begun again, the later limit counts.

        UnreachableError when none serves.
        """
        seconds = self._limit() if limit is None else limit
        is_first = self._timer is None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, lambda: self._do(self._end_early()))
        answers = await self._supervisor.ask_all(BeginDrain(seconds))
        drains = [
            answer.message
            for answer in answers.values()
            if isinstance(answer, Parcel) and isinstance(answer.message, Drain)
        ]
        if not drains:
            raise UnreachableError("no worker serves at the moment")
        drain = combined_drain(drains)
        self._logger.info("draining", sessions=drain.sessions, limit=seconds)
        self.on_drain(drain)
        if is_first:
            self._do(self._watch())
        return drain

    def began(self, worker: int) -> None:
        """A worker serves: while the others drain it must not grant anything either."""
        if self._timer is not None:
            self._do(self._have_drain(worker, self._timer.when()))

    def nothing_left(self, worker: int) -> None:
        """A worker that drains has no session any more, or its own time is up."""
        if self._timer is not None and not self._supervisor.is_stopping:
            self._do(self._end_if_empty())
        else:
            # A signal came to it alone: its successor does not drain.
            self._supervisor.end(worker)

    async def aclose(self) -> None:
        """The server has ended."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self) -> None:
        try:
            await self.drain()
        except UnreachableError:
            # They died this moment, and nobody has a session.
            self._supervisor.stop(signal.SIGTERM)

    async def _have_drain(self, worker: int, until: float) -> None:
        with contextlib.suppress(UnreachableError):
            await self._supervisor.ask(worker, BeginDrain(max(0.0, until - self._loop.time())))

    async def _watch(self) -> None:
        # Each worker tells when it has nothing left; but it may die with all that it has.
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self._end_if_empty()

    async def _end_if_empty(self) -> None:
        if await self._left() == 0 and not self._supervisor.is_stopping:
            self._logger.info("drained")
            self._supervisor.stop(signal.SIGINT)

    async def _end_early(self) -> None:
        if not self._supervisor.is_stopping:
            self._logger.warning("drain over", sessions_cut=await self._left())
            self._supervisor.stop(signal.SIGINT)

    async def _left(self) -> int | None:
        """How many sessions all have together; None while one does not say."""
        answers = await self._supervisor.ask_all(AskLeft())
        found = [
            answer.message.sessions
            for answer in answers.values()
            if isinstance(answer, Parcel) and isinstance(answer.message, Left)
        ]
        return sum(found) if len(found) == len(answers) else None

    def _do(self, what: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
