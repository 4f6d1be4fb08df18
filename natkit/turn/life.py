"""An allocation as it is opened, refreshed, moved and deleted (RFC 8656 §7, §8; RFC 8016).

What it is used for comes on top: :class:`~natkit.turn.allocation.Allocation`.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final, assert_never

from natkit.address import Address
from natkit.errors import (
    AllocationMismatch,
    MalformedMessage,
    MisuseError,
    MobilityForbidden,
    NatkitError,
    TransactionTimeout,
    UnreachableError,
)
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit, Transport
from natkit.stun.attributes import XorMappedAddress
from natkit.stun.authentication import TokenCredential
from natkit.stun.message import Message
from natkit.timers import TimerQueue
from natkit.turn import dual
from natkit.turn.allocation_state import TRANSITIONS, AllocationState
from natkit.turn.asking import Ended, Identity, Requests
from natkit.turn.events import (
    Allocated,
    AllocateFailed,
    AllocationClosed,
    AllocationLost,
    Moved,
    MoveFailed,
    Refreshed,
    TurnEvent,
)
from natkit.turn.moving import Arrived, Moving, Stayed, ticket_of
from natkit.turn.paths import OPEN_TIMEOUT, Paths, why
from natkit.turn.permissions import REFRESH_MARGIN
from natkit.turn.requests import (
    Allocate,
    BindChannel,
    ConnectPeer,
    CreatePermission,
    Delete,
    Purpose,
    Refresh,
    lifetime_in,
    may_pass,
    retry_delay,
)

__all__ = ["ATTEMPTS", "CLOSE_TIMEOUT", "Life"]

ATTEMPTS: Final = 3
"""Client addresses to try when the server has another's allocation on ours (RFC 8656 §7.4)."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that ``close`` waits for the server: four of a request's transmissions fit."""


class _Timer(Enum):
    OPEN = auto()
    REFRESH = auto()
    EXPIRY = auto()
    CLOSE = auto()


class Life(ABC):
    """The part of :class:`~natkit.turn.allocation.Allocation` that knows no peers.

    Who adds them overrides what :meth:`_forget_peers` and :meth:`_peers_outcome` leave open.
    """

    def __init__(
        self,
        server: Address,
        transport: Transport,
        *,
        username: str = "",
        password: str = "",
        token: TokenCredential | None = None,
        random: RandomBytes,
        local: Address | None = None,
        lifetime: int | None = None,
        family: dual.Wish = None,
        mobile: bool = False,
    ) -> None:
        if lifetime is not None and not 0 < lifetime < 1 << 32:
            raise MisuseError(f"a lifetime of {lifetime} seconds")
        self._transport = transport
        self._random = random
        self._events: deque[TurnEvent] = deque()
        self._paths = Paths(server, transport, local, self._events.append)
        self._identity = Identity(
            username, password, token, reliable=transport.is_reliable, random=random
        )
        self._requests = Requests(self._identity)
        self._moving = Moving(self._paths, self._identity, lifetime)
        self._allocate = Allocate(lifetime, family, mobile)
        self._refresh = Refresh(lifetime)
        self._state = AllocationState.IDLE
        self._attempt = 0
        self._opening: RequestId | None = None
        self._timers: TimerQueue[_Timer] = TimerQueue()
        self._unusable: MalformedMessage | None = None
        self._refresh_error: NatkitError = TransactionTimeout("the server stopped answering")
        self._transmits: list[Transmit] = []
        self.relayed: Address | None = None
        """Where peers reach us, while the state is ALLOCATED."""
        self.relayed_addresses: tuple[Address, ...] = ()
        """The same, and the address of the other family if we have both."""

    @property
    def state(self) -> AllocationState:
        """How far it is."""
        return self._state

    @property
    def path(self) -> Path | None:
        """The 5-tuple to the server, once there is one."""
        return self._paths.current

    def allocate(self, now: float) -> None:
        """Ask the server for an allocation; Allocated or AllocateFailed follows.

        After AllocateFailed it may be called again while the state is IDLE, and speaks from a new
        local address.  MisuseError in any other state.
        """
        if self._state is not AllocationState.IDLE:
            raise MisuseError(f"allocate() while {self._state.name}")
        self._attempt = 0
        self._open(now)

    def renew(self, token: TokenCredential, now: float) -> None:
        """Go on with another access token, before the one that there is expires: refresh by it.

        MisuseError for an allocation that was opened by a password.
        """
        self._identity.renew(token)
        self._requests.renew()
        if self._state is AllocationState.ALLOCATED:
            self._requests.start(self._refresh, now)

    @property
    def can_move(self) -> bool:
        """Whether the server has given a ticket for going elsewhere."""
        return self._state is AllocationState.ALLOCATED and self._moving.ticket != b""

    def move(self, now: float, local: Address | None = None) -> None:
        """Take the allocation along to a new socket or stream; Moved or MoveFailed follows.

        ``local`` is the address to speak from, as for the constructor.  Until Moved everything goes
        by the old path, and no data is lost.  A move under way is given up for this one.
        MisuseError without an allocation that can move.
        """
        if not self.can_move:
            raise MisuseError("the allocation cannot move: the server gave no mobility ticket")
        self._paths.local = local
        self._moving.begin(now)

    def close(self, now: float) -> None:
        """Delete the allocation; AllocationClosed follows within CLOSE_TIMEOUT."""
        match self._state:
            case AllocationState.IDLE | AllocationState.OPENING:
                self._closed(confirmed=True)
            case AllocationState.ALLOCATING if not self._requests.was_challenged:
                # The server has not spoken yet: nothing was granted.
                self._closed(confirmed=False)
            case AllocationState.ALLOCATING | AllocationState.ALLOCATED:
                self._delete(now)
            case AllocationState.DELETING | AllocationState.CLOSED:
                return
            case _:
                assert_never(self._state)

    # ── the contract of a machine ─────────────────────────────────────────────────────────────────

    def disconnected(self, path: Path, now: float) -> None:
        """The stream to the server ended."""
        error = UnreachableError(f"{self._paths.server} closed the connection")
        if path == self._paths.left:
            self._paths.left = None
        elif path == self._paths.current:
            self._paths.current = None
            if not self._move_because(error, now):
                self._fail(error)
        else:
            self._moving.disconnected(path, error)
            self._take_outcomes(now)

    def answer(self, request_id: RequestId, result: Address | Path | Failure, now: float) -> None:
        """The socket or the stream is there, or is not."""
        if self._moving.answers(request_id):
            self._moving.answer(result, now)
            self._take_outcomes(now)
        elif request_id != self._opening or self._state is not AllocationState.OPENING:
            self._paths.decline(result)
        elif isinstance(result, Failure):
            self._fail(why(result))
        else:
            self._timers.cancel(_Timer.OPEN)
            self._paths.current = self._paths.of(result)
            self._enter(AllocationState.ALLOCATING)
            self._requests.start(self._allocate, now)

    def handle_timer(self, now: float) -> None:
        """Retransmit, refresh, and notice what ended."""
        self._requests.handle_timer(now)
        self._moving.handle_timer(now)
        self._take_outcomes(now)
        for timer in self._timers.pop_due(now):
            match timer:
                case _Timer.OPEN:
                    self._fail(self._paths.unreachable())
                case _Timer.REFRESH:
                    self._requests.start(self._refresh, now)
                case _Timer.EXPIRY:
                    self._fail(self._refresh_error)
                case _Timer.CLOSE:
                    self._closed(confirmed=False)
                case _:
                    assert_never(timer)

    def next_deadline(self) -> float | None:
        """The earliest of all that is to be done in time."""
        deadlines = (
            self._requests.next_deadline(),
            self._moving.next_deadline(),
            self._timers.next_deadline(),
        )
        return min((each for each in deadlines if each is not None), default=None)

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent to the server."""
        for data in self._requests.transmits():
            self._transmit(data)
        self._transmits += self._moving.transmits()
        taken, self._transmits = self._transmits, []
        return taken

    def next_event(self) -> TurnEvent | None:
        """Take the next event, or None."""
        return self._events.popleft() if self._events else None

    # ── opening, failing, closing ─────────────────────────────────────────────────────────────────

    def _enter(self, state: AllocationState) -> None:
        """The one door between states."""
        if state not in TRANSITIONS[self._state]:
            raise AssertionError(f"{self._state.name} to {state.name}")
        self._state = state

    def _open(self, now: float) -> None:
        self._enter(AllocationState.OPENING)
        self._attempt += 1
        # The server may bind its nonces to the 5-tuple: a new one begins anew.
        self._requests = Requests(self._identity)
        self._timers.set(_Timer.OPEN, now + OPEN_TIMEOUT)
        self._opening = self._paths.ask()

    def _release_path(self) -> None:
        """Close what the shell opened, and forget all that belonged to it."""
        for timer in _Timer:
            self._timers.cancel(timer)
        self._requests.drop()
        self._moving.drop()
        self._moving.leave()
        self._forget_peers()
        self.relayed, self.relayed_addresses = None, ()
        if self._paths.close_current():
            self._transmits.clear()

    def _fail(self, error: NatkitError) -> None:
        """There is no allocation, or there is none any more."""
        match self._state:
            case AllocationState.OPENING | AllocationState.ALLOCATING:
                self._release_path()
                self._enter(AllocationState.IDLE)
                self._events.append(AllocateFailed(error))
            case AllocationState.ALLOCATED:
                self._release_path()
                self._enter(AllocationState.CLOSED)
                self._events.append(AllocationLost(error))
            case AllocationState.DELETING:
                self._closed(confirmed=False)
            case AllocationState.IDLE | AllocationState.CLOSED:
                return
            case _:
                assert_never(self._state)

    def _delete(self, now: float) -> None:
        # What an Allocate under way may yet create is deleted with it.
        self._requests.drop()
        self._moving.drop()
        for timer in _Timer:
            self._timers.cancel(timer)
        self._forget_peers()
        if self._paths.current is None:
            # It was lost on a move, and the server is not told any more.
            self._closed(confirmed=False)
            return
        self._enter(AllocationState.DELETING)
        self._timers.set(_Timer.CLOSE, now + CLOSE_TIMEOUT)
        self._requests.start(Delete(), now)

    def _closed(self, *, confirmed: bool) -> None:
        self._release_path()
        self._enter(AllocationState.CLOSED)
        if self._unusable is not None:
            self._events.append(AllocateFailed(self._unusable))
        else:
            self._events.append(AllocationClosed(confirmed))

    # ── moving (RFC 8016) ─────────────────────────────────────────────────────────────────────────

    def _move_because(
        self, reason: NatkitError, now: float, unserved: Purpose | None = None
    ) -> bool:
        """Save the allocation by moving, if that can be."""
        if self.can_move:
            self._moving.begin_because(reason, now, unserved)
            return True
        return False

    def _move_because_of_silence(self, now: float) -> None:
        if self.can_move and not self._moving.is_under_way:
            self._paths.local = None
            self._moving.begin(now)

    def _take_end_of_move(self, now: float) -> None:
        match self._moving.take_end(now):
            case None:
                return
            case Stayed(error, None):
                self._events.append(MoveFailed(error))
            case Stayed(reason=NatkitError() as reason):
                self._fail(reason)
            case Arrived(path, requests, response, started_at, unserved):
                unserved += self._requests.unanswered
                self._requests = requests
                self._live_until(started_at, lifetime_in(response))
                self._events.append(Moved(path))
                # It tells the server that we are here, though we may have nothing to send.
                requests.start(self._refresh, now)
                for purpose in unserved:
                    if isinstance(purpose, CreatePermission | BindChannel):
                        requests.start(purpose, now)

    # ── requests and their outcomes ───────────────────────────────────────────────────────────────

    def _take_outcomes(self, now: float) -> None:
        # What one outcome ends, it ends by a new conversation, which has no outcomes.
        while (ended := self._requests.next_outcome()) is not None:
            self._take_outcome(ended, now)
        self._take_end_of_move(now)

    def _take_outcome(self, ended: Ended, now: float) -> None:
        purpose, result, started_at = ended
        match purpose:
            case Allocate():
                self._allocate_outcome(result, started_at, now)
            case Delete():
                # RFC 8656 §8.3: 437 means that it is deleted already.
                self._closed(confirmed=isinstance(result, Message | AllocationMismatch))
            case _ if isinstance(result, AllocationMismatch):
                # RFC 8656 §5: the allocation no longer exists.
                if not self._move_because(result, now, purpose):
                    self._fail(result)
            case Refresh():
                self._refresh_outcome(result, started_at, now)
            case CreatePermission() | BindChannel() | ConnectPeer():
                self._peers_outcome(purpose, result, started_at, now)
            case _:
                assert_never(purpose)

    def _allocate_outcome(
        self, result: Message | NatkitError, started_at: float, now: float
    ) -> None:
        if isinstance(result, AllocationMismatch) and self._may_speak_from_elsewhere():
            # RFC 8656 §7.4.
            self._release_path()
            self._open(now)
            return
        if isinstance(result, MobilityForbidden) and self._allocate.mobile:
            self._allocate = replace(self._allocate, mobile=False)
            self._requests.start(self._allocate, now)
            return
        if isinstance(result, NatkitError):
            self._fail(result)
            return
        relayed = dual.granted(result, self._allocate.family)
        mapped = result.get(XorMappedAddress)
        lifetime = lifetime_in(result)
        if not relayed or not lifetime:
            # RFC 8656 §7.3: what can't be used is deleted.
            self._unusable = MalformedMessage("the server's allocation has no usable address")
            self._delete(now)
            return
        self._enter(AllocationState.ALLOCATED)
        self.relayed, self.relayed_addresses = relayed[0], relayed
        self._moving.ticket = ticket_of(result)
        self._live_until(started_at, lifetime)
        mapped_address = mapped.address if mapped else None
        second = relayed[1] if len(relayed) == 2 else None
        self._events.append(
            Allocated(relayed[0], mapped_address, lifetime, second, dual.missing(result))
        )

    def _may_speak_from_elsewhere(self) -> bool:
        fixed = self._paths.local is not None and self._paths.local.port != 0
        return self._attempt < ATTEMPTS and not fixed

    def _live_until(self, started_at: float, lifetime: float) -> None:
        """It lasts at least ``lifetime`` seconds after the request left."""
        margin = min(REFRESH_MARGIN, lifetime / 2)
        self._timers.set(_Timer.REFRESH, started_at + lifetime - margin)
        self._timers.set(_Timer.EXPIRY, started_at + lifetime)

    def _refresh_outcome(
        self, result: Message | NatkitError, started_at: float, now: float
    ) -> None:
        if isinstance(result, Message):
            lifetime = lifetime_in(result)
            if not lifetime:
                self._fail(AllocationMismatch(437, "the server ended the allocation"))
                return
            self._live_until(started_at, lifetime)
            self._events.append(Refreshed(lifetime))
            return
        self._refresh_error = result
        if isinstance(result, TransactionTimeout):
            # The path may be dead though the server is not.
            self._move_because_of_silence(now)
        if may_pass(result):
            self._timers.set(_Timer.REFRESH, now + retry_delay(result))

    def _transmit(self, data: bytes) -> None:
        if self._paths.current is not None:
            self._transmits.append(Transmit(data, self._paths.current))

    # ── what is made of it ────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _forget_peers(self) -> None:
        """There is nothing at the server for any peer."""

    @abstractmethod
    def _peers_outcome(
        self,
        purpose: CreatePermission | BindChannel | ConnectPeer,
        result: Message | NatkitError,
        started_at: float,
        now: float,
    ) -> None:
        """What was asked for on behalf of a peer at ``started_at`` has ended."""
