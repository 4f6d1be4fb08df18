"""A machine that does what a test tells it, and keeps what it was told."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from natkit.address import Address
from natkit.machine import Failure, Path, Transmit


@dataclass(frozen=True, slots=True)
class Heard:
    """One input: the method's name, when, and its other arguments."""

    what: str
    now: float
    arguments: tuple[object, ...]


class Scripted:
    """Queues what tests put into it; ``deadline`` is cleared when the timer fires."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.outbox: deque[Transmit] = deque()
        self.events: deque[object] = deque()
        self.deadline: float | None = None
        self.replies = False

    def said(self, what: str) -> list[tuple[object, ...]]:
        """The arguments of each input of that name."""
        return [heard.arguments for heard in self.heard if heard.what == what]

    @property
    def received(self) -> list[bytes]:
        """The messages that came, in order."""
        return [data for data, _ in self.said("receive") if isinstance(data, bytes)]

    def send(self, data: bytes, path: Path) -> None:
        """Have a message sent at the next drain."""
        self.outbox.append(Transmit(data, path))

    # ── natkit.machine.Machine ──────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        self.heard.append(Heard("receive", now, (data, path)))
        if self.replies:
            self.send(data, path)

    def disconnected(self, path: Path, now: float) -> None:
        self.heard.append(Heard("disconnected", now, (path,)))

    def answer(
        self, request_id: int, result: Address | Path | str | Failure | None, now: float
    ) -> None:
        self.heard.append(Heard("answer", now, (request_id, result)))

    def handle_timer(self, now: float) -> None:
        self.heard.append(Heard("timer", now, ()))
        self.deadline = None

    def next_deadline(self) -> float | None:
        return self.deadline

    def transmits(self) -> Sequence[Transmit]:
        taken = list(self.outbox)
        self.outbox.clear()
        return taken

    def next_event(self) -> object | None:
        return self.events.popleft() if self.events else None
