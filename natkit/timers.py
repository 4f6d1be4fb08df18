"""The one timer service of the machines: deadlines by name, no clock of its own."""

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class TimerQueue(Generic[K]):
    """Deadlines in monotonic seconds, one for each key; cancelled ones cost nothing for long."""

    def __init__(self) -> None:
        # An entry of the heap is live while it is the one of its key, and dead otherwise.
        self._armed: dict[K, tuple[float, int, K]] = {}
        self._heap: list[tuple[float, int, K]] = []
        # Equal deadlines fire in the order they were set, and keys are never compared.
        self._ticket = count()

    def __len__(self) -> int:
        return len(self._armed)

    def __contains__(self, key: K) -> bool:
        return key in self._armed

    def set(self, key: K, deadline: float) -> None:
        """Arm ``key`` for ``deadline``, in place of any earlier one."""
        entry = (deadline, next(self._ticket), key)
        self._armed[key] = entry
        heappush(self._heap, entry)
        # Keys that are re-armed over and over leave dead entries behind: bound them.
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._armed):
            self._heap = list(self._armed.values())
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        """Disarm ``key``; one that is not armed is no error."""
        self._armed.pop(key, None)

    def clear(self) -> None:
        """Disarm everything."""
        self._armed.clear()
        self._heap.clear()

    def deadline(self, key: K) -> float | None:
        """When ``key`` is due, or None."""
        armed = self._armed.get(key)
        return armed[0] if armed else None

    def next_deadline(self) -> float | None:
        """The earliest deadline, or None when nothing is armed."""
        heap = self._heap
        while heap:
            first = heap[0]
            if self._armed.get(first[2]) is first:
                return first[0]
            heappop(heap)
        return None

    def may_be_due(self, now: float) -> bool:
        """Whether :meth:`pop_due` could give a key: a quick look, which may mistake a dead one."""
        return bool(self._heap) and self._heap[0][0] <= now

    def pop_due(self, now: float) -> Iterator[K]:
        """Yield and disarm each key that is due at ``now``, earliest first.

        Timers set while iterating are seen too, if they are due already.
        """
        while self._heap and self._heap[0][0] <= now:
            entry = heappop(self._heap)
            key = entry[2]
            if self._armed.get(key) is entry:
                del self._armed[key]
                yield key
