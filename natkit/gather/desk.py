"""What the parts of a gatherer ask of the shell, in one sequence, and who gets the answers."""

from collections import deque
from collections.abc import Callable
from typing import Final

from natkit.errors import MisuseError
from natkit.gather.events import GatherEvent, GatherResult
from natkit.machine import Failure, RequestId

__all__ = ["Answered", "Desk"]

Answered = Callable[[GatherResult | Failure, float], None]
"""Takes the result of a Request, and the time."""

MOST_WAITING: Final = 4096
"""Requests without an answer: the sockets, servers and exchanges of a large host fit."""


class Desk:
    """Where the parts put their events; the gatherer hands them to its shell."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[RequestId, Answered] = {}
        self._events: deque[GatherEvent] = deque()

    def __len__(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def ask(self, make: Callable[[RequestId], GatherEvent], answered: Answered) -> None:
        """Emit the Request that ``make`` builds of its number; ``answered`` gets what comes."""
        if len(self._waiting) >= MOST_WAITING:
            raise MisuseError("a gatherer waits for too many sockets, servers and connections")
        self._last += 1
        self._waiting[self._last] = answered
        self._events.append(make(self._last))

    def tell(self, event: GatherEvent) -> None:
        """Emit a fact, or a wish that nothing answers."""
        self._events.append(event)

    def answer(self, request_id: RequestId, result: GatherResult | Failure, now: float) -> None:
        """Give it to whom it belongs; an unknown number is dropped."""
        answered = self._waiting.pop(request_id, None)
        if answered is not None:
            answered(result, now)

    def next_event(self) -> GatherEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None
