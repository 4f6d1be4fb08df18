"""A drain: nothing new is begun any more, and the process ends when the last session is gone."""

import asyncio
import time
from collections.abc import Callable

from natkit.server.log import Logger
from natkit.server.reports import Drain

__all__ = ["Draining"]


def _nobody_listens(_: Drain) -> None:
    """Nobody has to know of a drain."""


class Draining:
    """Begins a drain when told to, and sets ``over`` at its end.

    ``refuse`` has the machine begin nothing more, ``sessions`` counts what lives.  ``drained`` is
    told of the end instead, where it is for others to say what follows.
    """

    def __init__(
        self,
        limit: float,
        *,
        refuse: Callable[[], None],
        sessions: Callable[[], int],
        logger: Logger,
        drained: Callable[[], None] | None = None,
    ) -> None:
        self.over = asyncio.Event()
        self.limit = limit
        """Seconds that sessions are given, where whoever drains does not say."""
        self.on_begin: Callable[[Drain], None] = _nobody_listens
        self._refuse = refuse
        self._sessions = sessions
        self._logger = logger
        self._drained = drained
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def drain(self) -> Drain | None:
        """The drain under way."""
        if self._timer is None:
            return None
        return Drain(self._since, self._until, self._sessions())

    def begin(self, limit: float | None = None) -> Drain:
        """Drain for ``limit`` seconds at most; begun again, the later limit counts."""
        seconds = self.limit if limit is None else limit
        now = time.time()
        if self._timer is None:
            self._since = now
            self._refuse()
        else:
            self._timer.cancel()
        self._until = now + seconds
        self._timer = self._loop.call_later(seconds, self._end_early)
        drain = Drain(self._since, self._until, self._sessions())
        self._logger.info("draining", sessions=drain.sessions, limit=seconds)
        self.on_begin(drain)
        self.closed()
        return drain

    def begin_or_end(self) -> None:
        """What SIGTERM asks for: the first time to drain, the second time to end at once."""
        if self._timer is None:
            self.begin()
        else:
            self.over.set()

    def closed(self) -> None:
        """A session ended: see whether it was the last."""
        if self._timer is None or self._sessions() or self.over.is_set():
            return
        if self._drained is not None:
            self._drained()
        else:
            self._logger.info("drained")
            self.over.set()

    def cancel(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _end_early(self) -> None:
        if self._drained is not None:
            self._drained()
            return
        self._logger.warning("drain over", sessions_cut=self._sessions())
        self.over.set()
