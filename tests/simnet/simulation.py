"""Virtual time: a clock, a heap of what is to happen, and the one seed of all chance.

Nothing here sleeps.  Two runs with one seed do the same things in the same order.
"""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from types import TracebackType
from typing import Self

from natkit.machine import RandomBytes
from tests.simnet.trace import Trace

START = 86_400.25
"""The first reading of the clock: not zero, and no whole number, as monotonic clocks are."""

STEPS_AT_ONE_INSTANT = 10_000
"""More without the clock moving is a livelock: a machine whose deadline stays due."""

STEPS_IN_ONE_RUN = 2_000_000
"""More is a storm; a day of one allocation takes some ten thousand."""


class SimulationError(AssertionError):
    """What a test did, or a machine made its shell do, cannot be done in the network."""


class Livelock(SimulationError):
    """The machines are busy without end."""


class LimitReached(SimulationError):
    """The virtual time that a test allowed passed, and what it waited for did not happen."""


class Appointment:
    """Something that is to happen at ``time``, unless cancelled."""

    __slots__ = ("action", "cancelled", "time")

    def __init__(self, time: float, action: Callable[[], None]) -> None:
        self.time = time
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not happen; harmless when it has happened."""
        self.cancelled = True


class Simulation:
    """The clock, the heap and the seed; as a context it prints a failing run's trace."""

    def __init__(self, seed: int, *, start: float = START) -> None:
        self.seed = seed
        self.now = start
        self.started = start
        self.trace = Trace(start)
        self.steps = 0
        self._heap: list[tuple[float, int, Appointment]] = []
        # What is due at the same time happens in the order it was asked for.
        self._ticket = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            print(f"seed {self.seed}, {self.now - self.started:.6f} s after the start")
            print(self.trace.format())

    # ── chance ──────────────────────────────────────────────────────────────────────────────────

    def random(self, purpose: str) -> random.Random:
        """A source for one purpose: what one part draws does not change what another one gets."""
        return random.Random(f"{self.seed}/{purpose}")

    def random_bytes(self, purpose: str) -> RandomBytes:
        """The same for a machine."""
        return self.random(purpose).randbytes

    # ── time ────────────────────────────────────────────────────────────────────────────────────

    def at(self, time: float, action: Callable[[], None]) -> Appointment:
        """Do ``action`` at ``time``, or next when that has passed."""
        appointment = Appointment(max(time, self.now), action)
        heappush(self._heap, (appointment.time, next(self._ticket), appointment))
        return appointment

    def after(self, delay: float, action: Callable[[], None]) -> Appointment:
        """Do ``action`` in ``delay`` seconds."""
        return self.at(self.now + delay, action)

    def run_for(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        self._run(end, None)
        self.now = end

    def run_until(self, done: Callable[[], bool], limit: float) -> None:
        """Run until ``done()``; LimitReached when ``limit`` seconds have passed without it."""
        end = self.now + limit
        if not self._run(end, done):
            self.now = end
            raise LimitReached(f"did not happen within {limit} s (seed {self.seed})")

    def run_until_quiet(self, limit: float) -> None:
        """Run until nothing is left to happen; LimitReached when ``limit`` seconds are too few."""
        self.run_until(lambda: self._next_time() is None, limit)

    def _run(self, end: float, done: Callable[[], bool] | None) -> bool:
        if done is not None and done():
            return True
        steps_here = steps = 0
        while (time := self._next_time()) is not None and time <= end:
            appointment = heappop(self._heap)[2]
            steps += 1
            steps_here = 1 if time > self.now else steps_here + 1
            if steps_here > STEPS_AT_ONE_INSTANT or steps > STEPS_IN_ONE_RUN:
                raise Livelock(
                    f"{steps} steps, {steps_here} of them at one instant (seed {self.seed})"
                )
            self.now = time
            self.steps += 1
            appointment.action()
            if done is not None and done():
                return True
        return False

    def _next_time(self) -> float | None:
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heappop(heap)
        return heap[0][0] if heap else None
