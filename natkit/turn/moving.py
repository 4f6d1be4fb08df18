"""Changes of the client's address, from the client's side (RFC 8016).

The allocation itself goes on by its old path until the server has agreed to the new one, as far as
there is an old one.
"""

from enum import Enum, auto
from typing import Final, NamedTuple, assert_never

from natkit.address import Address
from natkit.errors import AllocationMismatch, MalformedMessage, NatkitError
from natkit.machine import Failure, Path, RequestId, Transmit
from natkit.stun.attributes import MobilityTicket
from natkit.stun.message import Message
from natkit.timers import TimerQueue
from natkit.turn.asking import Identity, Requests
from natkit.turn.paths import OPEN_TIMEOUT, Paths, why
from natkit.turn.requests import Purpose, Refresh

LINGER: Final = 5.0
"""Seconds for which what is still under way on the old path is taken, once there is a new one."""

__all__ = ["LINGER", "Arrived", "Moving", "Stayed", "ticket_of"]


class Arrived(NamedTuple):
    """The server has agreed: the new path is the current one.

    ``requests`` go on there; ``unserved`` are those that the old path could not serve any more.
    """

    path: Path
    requests: Requests
    response: Message
    started_at: float
    unserved: list[Purpose]


class Stayed(NamedTuple):
    """A move failed; without the path that made it necessary by ``reason``, all is over."""

    error: NatkitError
    reason: NatkitError | None


class _Timer(Enum):
    OPEN = auto()
    LINGER = auto()


class _Attempt:
    """One presentation of a ticket; the shell opens a path for it by ``request_id`` at first."""

    def __init__(self, request_id: RequestId, reason: NatkitError | None) -> None:
        self.request_id = request_id
        self.reason = reason
        self.path: Path | None = None
        self.requests: Requests | None = None
        self.unserved: list[Purpose] = []


class Moving:
    """The ticket that the server gave, and the attempt under way to present it elsewhere.

    Its owner asks for :meth:`take_end` after each call.
    """

    def __init__(self, paths: Paths, identity: Identity, lifetime: int | None) -> None:
        self.ticket = b""
        self._paths = paths
        self._identity = identity
        self._lifetime = lifetime
        self._attempt: _Attempt | None = None
        self._end: Stayed | None = None
        self._timers: TimerQueue[_Timer] = TimerQueue()

    @property
    def is_under_way(self) -> bool:
        """Whether an attempt is."""
        return self._attempt is not None

    def is_reached_by(self, path: Path) -> bool:
        """Whether the server is spoken to on ``path`` about a move."""
        return self._attempt is not None and path == self._attempt.path

    # ── what the owner asks for ─────────────────────────────────────────────────────────────────

    def begin(self, now: float, reason: NatkitError | None = None) -> None:
        """Go to another path, in place of an attempt under way."""
        unserved = [] if self._attempt is None else self._attempt.unserved
        self.drop()
        self._attempt = _Attempt(self._paths.ask(), reason)
        self._attempt.unserved = unserved
        self._timers.set(_Timer.OPEN, now + OPEN_TIMEOUT)

    def begin_because(self, reason: NatkitError, now: float, unserved: Purpose | None) -> None:
        """Save the allocation from what has happened to its path."""
        attempt = self._attempt
        if attempt is not None:
            attempt.reason = attempt.reason or reason
        elif isinstance(reason, AllocationMismatch) and self._paths.current is not None:
            # The server may see the same socket at another address.
            attempt = self._attempt = _Attempt(0, reason)
            self._present(attempt, self._paths.current, now)
        else:
            # Whatever address was given may be gone.
            self._paths.local = None
            self.begin(now, reason)
        if unserved is not None and self._attempt is not None:
            self._attempt.unserved.append(unserved)

    def drop(self) -> None:
        """Give up the attempt under way."""
        self._timers.cancel(_Timer.OPEN)
        attempt, self._attempt, self._end = self._attempt, None, None
        if attempt is None or attempt.path is None or attempt.path == self._paths.current:
            return
        self._paths.close(attempt.path)

    def leave(self) -> None:
        """Be done with the path that was before the current one."""
        self._timers.cancel(_Timer.LINGER)
        self._paths.leave()

    def take_end(self, now: float) -> Arrived | Stayed | None:
        """Take how an attempt ended, if it did: after Arrived the path and the ticket are new."""
        stayed, self._end = self._end, None
        attempt = self._attempt
        if stayed is not None or attempt is None or attempt.requests is None:
            return stayed
        outcome = attempt.requests.next_outcome()
        if outcome is None or attempt.path is None:
            return None
        result = outcome.result
        if isinstance(result, AllocationMismatch):
            # The ticket is of no use any more.
            self.ticket = b""
        elif isinstance(result, Message) and not ticket_of(result):
            result = MalformedMessage("the server gave no other mobility ticket")
        if isinstance(result, NatkitError):
            self.drop()
            return Stayed(result, attempt.reason)
        self._attempt = None
        self.ticket = ticket_of(result)
        self._settle(attempt.path, now)
        return Arrived(attempt.path, attempt.requests, result, outcome.started_at, attempt.unserved)

    # ── what the shell and the server do ────────────────────────────────────────────────────────

    def answers(self, request_id: RequestId) -> bool:
        """Whether a move waits for this answer of the shell."""
        return self._attempt is not None and request_id == self._attempt.request_id

    def answer(self, result: Address | Path | Failure, now: float) -> None:
        """The path that :meth:`answers` is there, or is not."""
        attempt = self._attempt
        if attempt is None:
            return
        self._timers.cancel(_Timer.OPEN)
        if isinstance(result, Failure):
            self._fail(why(result))
        else:
            attempt.request_id = 0
            self._present(attempt, self._paths.of(result), now)

    def disconnected(self, path: Path, error: NatkitError) -> None:
        """A stream ended; it matters where :meth:`is_reached_by` says so."""
        if self._attempt is not None and path == self._attempt.path:
            self._attempt.path = None
            self._fail(error)

    def receive(self, message: Message, now: float) -> bool:
        """Take a response; False when it answers nothing that was asked."""
        requests = self._requests
        return requests is not None and requests.receive(message, now)

    def handle_timer(self, now: float) -> None:
        """Retransmit, and notice what took too long."""
        if self._requests is not None:
            self._requests.handle_timer(now)
        for timer in self._timers.pop_due(now):
            match timer:
                case _Timer.OPEN:
                    self._fail(self._paths.unreachable())
                case _Timer.LINGER:
                    self.leave()
                case _:
                    assert_never(timer)

    def next_deadline(self) -> float | None:
        """When to."""
        requests = self._requests
        deadlines = (
            self._timers.next_deadline(),
            None if requests is None else requests.next_deadline(),
        )
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent on the new path."""
        attempt = self._attempt
        if attempt is None or attempt.path is None or attempt.requests is None:
            return []
        return [Transmit(data, attempt.path) for data in attempt.requests.transmits()]

    @property
    def _requests(self) -> Requests | None:
        return None if self._attempt is None else self._attempt.requests

    def _present(self, attempt: _Attempt, path: Path, now: float) -> None:
        attempt.path = path
        attempt.requests = Requests(self._identity)
        attempt.requests.start(Refresh(self._lifetime, self.ticket), now)

    def _settle(self, path: Path, now: float) -> None:
        """Have the new path as the current one, and the old one for what is under way there."""
        old, self._paths.current = self._paths.current, path
        if old is not None and old != path:
            self.leave()
            self._paths.left = old
            self._timers.set(_Timer.LINGER, now + LINGER)

    def _fail(self, error: NatkitError) -> None:
        reason = None if self._attempt is None else self._attempt.reason
        self.drop()
        self._end = Stayed(error, reason)


def ticket_of(response: Message) -> bytes:
    """The ticket that a success response holds; empty without one (RFC 8016 §3.1.3, §3.2.3)."""
    ticket = response.get(MobilityTicket)
    return b"" if ticket is None else ticket.value
