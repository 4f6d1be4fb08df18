"""What every mapper keeps of its wishes: their states, their timers, and what is told of them."""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from natkit.errors import MisuseError
from natkit.portmap.mapping import MappingFailed, MappingLost, Method, PortMapEvent, Unmapped, Wish
from natkit.timers import TimerQueue

__all__ = ["ALL", "MOST_WISHES", "PATIENCE", "Entry", "Ledger", "State", "Timer"]

PATIENCE: Final = 12.0
"""Seconds after which a gateway that never said anything counts as not speaking the protocol."""

MOST_WISHES: Final = 1000
"""Mappings at one gateway at a time."""

ALL: Final = -1
"""Whose timers concern no wish but all: of the question what the gateway speaks."""


class State(Enum):
    """What a wish has come to."""

    ASKING = auto()
    """Nothing is granted yet, and the wish is given up when nobody answers."""
    GRANTED = auto()
    RENEWING = auto()
    """As granted, and a request is under way."""
    LOST = auto()
    """It was granted and has ended; it is asked for on."""
    REMOVING = auto()


class Timer(Enum):
    """What is due."""

    SEND = auto()
    """A request, or a search, once more."""
    GIVE_UP = auto()
    RENEW = auto()
    EXPIRE = auto()


@dataclass(slots=True, eq=False, kw_only=True)
class Entry:
    """One wish; mappers add what their protocol needs."""

    wish_id: int
    wish: Wish
    state: State = State.ASKING


E = TypeVar("E", bound=Entry)
V = TypeVar("V")


class Ledger(Generic[E, V]):
    """The wishes at one gateway by one protocol; ``V`` are the events of its mapper beside these.

    Nobody but the mapper holds it, so its parts are there to be read.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self.entries: dict[int, E] = {}
        self.timers: TimerQueue[tuple[int, Timer]] = TimerQueue()
        self.events: deque[PortMapEvent | V] = deque()

    def admit(self, entry: E, give_up_at: float) -> None:
        """Add a wish, and give it up by then; MisuseError for one too many, or one that is here."""
        if entry.wish_id in self.entries:
            raise MisuseError("the mapping is wanted already")
        if len(self.entries) >= MOST_WISHES:
            raise MisuseError(f"more than {MOST_WISHES} mappings at one gateway")
        self.entries[entry.wish_id] = entry
        self.timers.set((entry.wish_id, Timer.GIVE_UP), give_up_at)

    def granted(self, entry: E, renew_at: float, expires_at: float | None) -> None:
        """It is granted; without an end there is nothing to expire."""
        self.disarm(entry.wish_id)
        entry.state = State.GRANTED
        self.timers.set((entry.wish_id, Timer.RENEW), renew_at)
        if expires_at is not None:
            self.timers.set((entry.wish_id, Timer.EXPIRE), expires_at)

    def expired(self, entry: E) -> None:
        """Its time is over."""
        entry.state = State.LOST
        self.events.append(MappingLost(entry.wish_id, "the gateway did not renew it"))

    def removing(self, entry: E, give_up_at: float) -> None:
        """It is asked to be removed; what is not confirmed by then is so told."""
        self.disarm(entry.wish_id)
        entry.state = State.REMOVING
        self.timers.set((entry.wish_id, Timer.GIVE_UP), give_up_at)

    def removed(self, entry: E, *, confirmed: bool) -> None:
        """It is gone, or nobody says."""
        self.forget(entry)
        self.events.append(Unmapped(entry.wish_id, confirmed=confirmed))

    def given_up(self, entry: E, reason: str) -> None:
        """Its patience is over."""
        if entry.state is State.REMOVING:
            self.removed(entry, confirmed=False)
        else:
            self.failed(entry, reason)

    def failed(
        self, entry: E, reason: str, code: int | None = None, retry_after: float | None = None
    ) -> None:
        """There is no mapping; the wish is forgotten."""
        self.forget(entry)
        self.events.append(MappingFailed(entry.wish_id, self.method, reason, code, retry_after))

    def forget(self, entry: E) -> None:
        """It is nobody's wish any more."""
        self.disarm(entry.wish_id)
        del self.entries[entry.wish_id]

    def disarm(self, wish_id: int) -> None:
        """Nothing is due for it."""
        for timer in Timer:
            self.timers.cancel((wish_id, timer))
