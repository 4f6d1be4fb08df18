"""Machines that do as a test says, and framing of the simplest kind."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from natkit.address import Address
from natkit.errors import MalformedMessage
from natkit.machine import (
    ClosePath,
    CloseSocket,
    Connect,
    Failure,
    OpenSocket,
    Path,
    Request,
    RequestId,
    Transmit,
)

LONGEST_LINE = 1_000_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A message came."""

    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """A stream ended."""

    path: Path


@dataclass(frozen=True, slots=True)
class Answered:
    """A Request was answered."""

    request_id: RequestId
    result: Address | Path | str | Failure


@dataclass(frozen=True, slots=True)
class Fired:
    """A timer fired, ``late`` seconds after its deadline."""

    late: float


@dataclass(frozen=True, slots=True)
class Ask(Request):
    """A Request that the driver does not know."""


Event = Heard | Ended | Answered | Fired | Ask | OpenSocket | CloseSocket | Connect | ClosePath
Result = Address | Path | str


@dataclass
class Scripted:
    """Tells every input as an event, and sends and asks for what it is told to.

    ``reply`` makes of each message what is sent back.  ``defect`` is raised by the next input.
    """

    reply: Callable[[bytes], bytes | None] = lambda _: None
    deadline: float | None = None
    defect: Exception | None = None
    inputs: int = 0
    latest: float = 0.0
    outgoing: list[Transmit] = field(default_factory=list)
    events: deque[Event] = field(default_factory=deque)
    actions: list[str] = field(default_factory=list)

    def receive(self, data: bytes, path: Path, now: float) -> None:
        self._begin(now)
        self.events.append(Heard(data, path))
        answer = self.reply(data)
        if answer is not None:
            self.outgoing.append(Transmit(answer, path))

    def disconnected(self, path: Path, now: float) -> None:
        self._begin(now)
        self.events.append(Ended(path))

    def answer(self, request_id: RequestId, result: Result | Failure, now: float) -> None:
        self._begin(now)
        self.events.append(Answered(request_id, result))

    def handle_timer(self, now: float) -> None:
        self._begin(now)
        if self.deadline is not None and now >= self.deadline:
            self.events.append(Fired(now - self.deadline))
            self.deadline = None

    def next_deadline(self) -> float | None:
        return self.deadline

    def transmits(self) -> Sequence[Transmit]:
        self.actions.append("transmits")
        taken, self.outgoing = self.outgoing, []
        return taken

    def next_event(self) -> Event | None:
        event = self.events.popleft() if self.events else None
        self.actions.append(f"event {type(event).__name__}")
        return event

    def emit(self, *events: Event) -> Callable[[float], None]:
        """For ``driver.run``: emit these."""
        return lambda _: self.events.extend(events)

    def send(self, *transmits: Transmit) -> Callable[[float], None]:
        """For ``driver.run``: send these."""
        return lambda _: self.outgoing.extend(transmits)

    def wake_at(self, deadline: float | None) -> Callable[[float], None]:
        """For ``driver.run``: have the timer armed."""

        def set_deadline(_: float) -> None:
            self.deadline = deadline

        return set_deadline

    def _begin(self, now: float) -> None:
        assert now >= self.latest, "time went back"
        self.latest = now
        self.inputs += 1
        if self.defect is not None:
            defect, self.defect = self.defect, None
            raise defect


class Inbox:
    """An ``on_event`` that keeps events and lets a test wait for them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def wait(self, count: int = 1) -> list[Event]:
        """The events so far, once there are ``count``."""
        async with asyncio.timeout(20):
            while len(self.events) < count:
                self._news.clear()
                await self._news.wait()
        return self.events


class LineFraming:
    """Messages end with a newline; one that begins with ``!`` is no message."""

    def __init__(self) -> None:
        self._buffer = b""

    def receive(self, data: bytes) -> Sequence[bytes]:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if any(line.startswith(b"!") for line in lines) or len(self._buffer) > LONGEST_LINE:
            raise MalformedMessage("not a line")
        return [line + b"\n" for line in lines]
