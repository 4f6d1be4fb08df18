"""What stands between a server and its store of users.

A server asks for a user with each Allocate or REGISTER.  The cache answers at once what it was told
lately, asks the store for the rest without holding anybody up, joins equal questions, and, while
the store is down, goes on with the users that it knows.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from natkit.errors import StoreFailure
from natkit.server.stores.condition import Condition
from natkit.server.stores.store import ANSWER_LIMIT, Store, UserKeys

__all__ = ["Answer", "CacheTimes", "UserCache"]

MAX_KNOWN = 10_000
"""Users whose keys are kept, the latest: some 5 MB.  One who is dropped costs a lookup."""

MAX_UNKNOWN = 10_000
"""Names that nobody bears and that are remembered, apart from the users: a flood of them pushes out
none of those."""

MAX_LOOKUPS = 256
"""Questions that wait for the store at once: what makes a flood of new names no flood for it."""

RETRY_INTERVAL = 1.0
"""Seconds between two attempts at a store that is down."""

Answer = UserKeys | StoreFailure | None
"""A user, None for a user that does not exist, or why nobody can tell."""


@dataclass(frozen=True, slots=True)
class CacheTimes:
    """For how long an answer of the store counts, in seconds.

    ``fresh``: no change is seen before.  ``lifetime``: for how long keys are used while the store
    is down.  ``unknown``: how long a name is taken not to exist.
    """

    fresh: float = 10.0
    lifetime: float = 3600.0
    unknown: float = 5.0


@dataclass(frozen=True, slots=True)
class _Known:
    keys: UserKeys
    since: float


class UserCache:
    """Answers for the users of one realm; ``clock`` is monotonic seconds."""

    def __init__(
        self,
        store: Store,
        realm: str,
        *,
        times: CacheTimes,
        condition: Condition,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._realm = realm
        self._times = times
        self._condition = condition
        self._clock = clock
        # Both in the order of their answers.
        self._known: dict[bytes, _Known] = {}
        self._unknown: dict[bytes, float] = {}
        self._waiting: dict[bytes, list[Callable[[Answer], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry_at = 0.0

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._known) + len(self._unknown)

    def find(self, userhash: bytes, answer: Callable[[Answer], None]) -> None:
        """Call ``answer`` with the user of this hash: at once if that can be, else later."""
        now = self._clock()
        known = self._recall(userhash, now)
        if known is not None and now < known.since + self._times.fresh:
            answer(known.keys)
            return
        unknown_since = self._unknown.get(userhash)
        if unknown_since is not None and now < unknown_since + self._times.unknown:
            answer(None)
            return
        waiting = self._waiting.get(userhash)
        failure = self._condition.failure
        if failure is not None and (known is not None or waiting is None):
            self._find_while_down(userhash, known, failure, answer, now)
        elif waiting is not None:
            waiting.append(answer)
        elif len(self._waiting) < MAX_LOOKUPS:
            self._ask(userhash, [answer])
        else:
            self._condition.counts["lookups refused"] += 1
            answer(known.keys if known is not None else StoreFailure("too many lookups at once"))

    async def aclose(self) -> None:
        """Give up what waits; nothing is answered any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _find_while_down(
        self,
        userhash: bytes,
        known: _Known | None,
        failure: StoreFailure,
        answer: Callable[[Answer], None],
        now: float,
    ) -> None:
        is_due = now >= self._retry_at and userhash not in self._waiting
        if is_due:
            self._retry_at = now + RETRY_INTERVAL
        if known is not None:
            self._condition.counts["users known while the store was down"] += 1
            answer(known.keys)
            if is_due:
                self._ask(userhash, [])
        elif is_due:
            self._ask(userhash, [answer])
        else:
            answer(failure)

    def _ask(self, userhash: bytes, waiting: list[Callable[[Answer], None]]) -> None:
        self._condition.counts["lookups"] += 1
        self._waiting[userhash] = waiting
        task = asyncio.get_running_loop().create_task(self._look_up(userhash))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, userhash: bytes) -> None:
        answer: Answer
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                answer = await self._store.find(self._realm, userhash)
        except TimeoutError:
            answer = StoreFailure(f"{self._store.name}: no answer in {ANSWER_LIMIT:g} s")
        except StoreFailure as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - whatever it was, who waits must hear of it
            answer = StoreFailure(f"{self._store.name}: {error}")
        now = self._clock()
        if isinstance(answer, StoreFailure):
            self._retry_at = now + RETRY_INTERVAL
            self._condition.failed(answer)
            known = self._recall(userhash, now)
            if known is not None:
                answer = known.keys
        else:
            self._remember(userhash, answer, now)
            self._condition.answered()
        for waiting in self._waiting.pop(userhash):
            waiting(answer)

    def _recall(self, userhash: bytes, now: float) -> _Known | None:
        known = self._known.get(userhash)
        if known is not None and now >= known.since + self._times.lifetime:
            del self._known[userhash]
            return None
        return known

    def _remember(self, userhash: bytes, keys: UserKeys | None, now: float) -> None:
        self._known.pop(userhash, None)
        self._unknown.pop(userhash, None)
        if keys is not None:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[userhash] = _Known(keys, now)
        elif self._times.unknown > 0:
            if len(self._unknown) >= MAX_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[userhash] = now
