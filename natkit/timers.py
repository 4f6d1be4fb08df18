"""The one timer service of the machines: deadlines by name, no clock of its own."""

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class TimerQueue(Generic[K]):
    """Deadlines in monotonic seconds, one for each key; cancelled ones cost nothing for long."""

    def __init__(self) -> None:
        self._deadlines: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        # Equal deadlines fire in the order they were set, and keys are never compared.
        self._ticket = count()

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: K) -> bool:
        return key in self._deadlines

    def set(self, key: K, deadline: float) -> None:
        """Arm ``key`` for ``deadline``, in place of any earlier one."""
        ticket = next(self._ticket)
        self._deadlines[key] = (deadline, ticket)
        heappush(self._heap, (deadline, ticket, key))
        # Keys that are re-armed over and over leave dead entries behind: bound them.
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._deadlines):
            self._heap = [(due, number, key) for key, (due, number) in self._deadlines.items()]
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Disarm ``key``; one that is not armed is no error."""
        self._deadlines.pop(key, None)

    def deadline(self, key: K) -> float | None:
        """When ``key`` is due, or None."""
        armed = self._deadlines.get(key)
        return armed[0] if armed else None

    def next_deadline(self) -> float | None:
        """The earliest deadline, or None when nothing is armed."""
        self._drop_dead()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> Iterator[K]:
        """Yield and disarm each key that is due at ``now``, earliest first.

        Timers set while iterating are seen too, if they are due already.
        """
        while True:
            self._drop_dead()
            if not self._heap or self._heap[0][0] > now:
                return
            key = heappop(self._heap)[2]
            del self._deadlines[key]
            yield key

    def _drop_dead(self) -> None:
        heap = self._heap
        while heap:
            deadline, ticket, key = heap[0]
            if self._deadlines.get(key) == (deadline, ticket):
                return
            heappop(heap)
