"""Keeps the messages that came and went lately, as they were, until somebody asks for them.

Recording reads nothing of a message: it costs an entry in a ring, whose bytes are bounded.  All
that is found out about the messages is found out when it is asked for, from a copy of the ring.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from natkit.errors import MisuseError
from natkit.machine import Path, Transmit

__all__ = ["FlightRecorder", "Recorded", "RecorderSettings"]

OVERHEAD: Final = 320
"""Bytes of memory that an entry has besides its message: the objects of it, and of its path."""


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """``memory``: bytes that the recorder may have, about; 0 records nothing."""

    memory: int = 32 << 20

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise MisuseError("a recorder has 0 bytes of memory or more")


class Recorded(NamedTuple):
    """A message; ``time`` is monotonic seconds, ``is_sent``: it went, and did not come."""

    time: float
    is_sent: bool
    path: Path
    data: bytes


class FlightRecorder:
    """A ring of messages.  ``now`` is the time of the input that is being worked on."""

    __slots__ = ("_memory", "_messages", "_size", "now")

    def __init__(self, settings: RecorderSettings) -> None:
        self.now = 0.0
        # Plain tuples: to make a Recorded costs as much as all the rest.
        self._messages: deque[tuple[float, bool, Path, bytes]] = deque()
        self._size = 0
        self._memory = settings.memory

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def size(self) -> int:
        """Bytes in use, about."""
        return self._size

    def configure(self, settings: RecorderSettings) -> None:
        """Have another size from now on; what there is beyond it is forgotten."""
        self._memory = settings.memory
        self._make_room()

    def received(self, data: bytes, path: Path, now: float) -> None:
        """A message came."""
        self.now = now
        if self._memory:
            self._messages.append((now, False, path, data))
            self._size += len(data) + OVERHEAD
            if self._size > self._memory:
                self._make_room()

    def sent(self, transmits: Iterable[Transmit]) -> None:
        """Messages go, because of the input that came last."""
        if not self._memory:
            return
        now, messages = self.now, self._messages
        for transmit in transmits:
            data = transmit.data
            messages.append((now, True, transmit.path, data))
            self._size += len(data) + OVERHEAD
        if self._size > self._memory:
            self._make_room()

    def messages(self) -> Sequence[Recorded]:
        """All that there is, the oldest first; a copy, which another thread may read."""
        return tuple([Recorded(*each) for each in self._messages])

    def _make_room(self) -> None:
        messages = self._messages
        while self._size > self._memory and messages:
            self._size -= len(messages.popleft()[3]) + OVERHEAD
