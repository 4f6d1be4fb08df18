"""The calls that go on, followed from what passes: INVITE, its answers, CANCEL, BYE.

A call begins with an INVITE outside of a dialog that is let in, and is known by its Call-ID and its
caller's tag.  However many phones it rings, it is one.  It ends when it is refused or given up,
when a BYE is passed on, or, since a BYE may go another way or be lost with its phone, when it lasts
too long: longer than any call may, or than its session interval without a refresh (RFC 4028 §10).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from natkit.errors import MalformedMessage
from natkit.machine import Path
from natkit.sip import Request, Response
from natkit.sip.headers import Singular
from natkit.sip.kinds import CALL_ID, FROM, TO
from natkit.sip.parties import tag_of
from natkit.sip.transactions import (
    PathLost,
    RequestReceived,
    ResponseReceived,
    TimedOut,
    TransactionEnded,
    TransactionEvent,
    TransactionId,
)
from natkit.sip.values import read_number
from natkit.timers import TimerQueue
from sip_proxy.calls.record import BranchRecord, CallRecord, Release
from sip_proxy.calls.settings import CallSettings
from sip_proxy.calls.users import UserCalls
from sip_proxy.printable import printable
from sip_proxy.rejection import Rejection

__all__ = ["Calls", "RunningCall"]

LARGEST_INTERVAL: Final = 2**31 - 1
MOST_BRANCHES: Final = 100
"""Of one call that are followed: places times servers of each."""
_CHALLENGES: Final = (401, 407)
_TIMEOUT, _UNAVAILABLE, _CANCELLED = 408, 503, 487


def _read_interval(text: str) -> int:
    return read_number(text.partition(";")[0].strip(), LARGEST_INTERVAL)


SESSION_EXPIRES: Final = Singular("Session-Expires", _read_interval)  # RFC 4028 §4
"""The session interval in seconds; its parameters are for the two user agents."""


@dataclass(slots=True, eq=False)
class _Call:
    call_id: str
    caller_tag: str
    transaction: TransactionId
    sender: str
    receiver: str
    request_uri: str
    user: str
    source: Path
    started: float
    ringing: float | None = None
    answered: float | None = None
    callee_tag: str = ""
    status: int = 0
    reason: str = ""
    is_by_us: bool = False
    is_cancelled: bool = False
    session_interval: int | None = None
    answering: int | None = None
    refusals: set[int] = field(default_factory=set)
    branches: list[BranchRecord] = field(default_factory=list)
    transactions: list[TransactionId] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that rings or goes on, as :class:`~sip_proxy.calls.CallRecord` has it."""

    call_id: str
    sender: str
    receiver: str
    user: str
    source: str
    started: float
    ringing: float | None
    answered: float | None
    branches: tuple[BranchRecord, ...]


_Key = tuple[str, str]


class Calls:
    """A machine without messages of its own; ``unix_offset`` plus ``now`` is Unix time.

    ``tell`` gets the record of each call that is over; ``unfollowed`` counts those that there was
    no room for.
    """

    def __init__(
        self, settings: CallSettings, unix_offset: float, tell: Callable[[CallRecord], None]
    ) -> None:
        self.unfollowed = 0
        self._settings = settings
        self._offset = unix_offset
        self._tell = tell
        self._users = UserCalls(settings.per_user, settings.per_user_minute)
        self._running: dict[_Key, _Call] = {}
        self._invites: dict[TransactionId, _Call] = {}
        self._branches: dict[TransactionId, tuple[_Call, int]] = {}
        self._deadlines: TimerQueue[_Key] = TimerQueue()

    def __len__(self) -> int:
        return len(self._running)

    def configure(self, settings: CallSettings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._users.configure(settings.per_user, settings.per_user_minute)

    def __iter__(self) -> Iterator[RunningCall]:
        """Those that ring or go on, the oldest first."""
        for call in list(self._running.values()):
            yield RunningCall(
                call.call_id,
                call.sender,
                call.receiver,
                call.user,
                _place(call.source),
                call.started + self._offset,
                self._unix(call.ringing),
                self._unix(call.answered),
                tuple(call.branches),
            )

    # ── from the INVITE to its answer ───────────────────────────────────────────────────────────

    def begin(
        self, transaction: TransactionId, request: Request, path: Path, user: str, now: float
    ) -> Rejection | None:
        """A request that came in ``transaction`` was let in; what to refuse it by, or None.

        ``user`` is who it was proved to be of.  What is no INVITE outside of a dialog is no call.
        """
        if request.method != "INVITE":
            return None
        sender, receiver = request.headers.get(FROM), request.headers.get(TO)
        if sender is None or receiver is None or receiver.tag is not None:
            return None
        key = request.headers.get(CALL_ID) or "", sender.tag or ""
        running = self._running.get(key)
        if running is not None:
            # It came back to us, for another target or by another way: the same call.
            self._invites[transaction] = running
            running.transactions.append(transaction)
            return None
        refused = self._users.begin(user, now)
        if refused is not None:
            return refused
        if len(self._running) >= self._settings.largest_count:
            self.unfollowed += 1
            self._users.end(user)
            return None
        call = _Call(
            *key,
            transaction,
            printable(str(sender.uri)),
            printable(str(receiver.uri)),
            printable(request.uri_text),
            user,
            path,
            now,
        )
        self._running[key] = self._invites[transaction] = call
        call.transactions.append(transaction)
        return None

    def forget(self, transaction: TransactionId) -> None:
        """What came in ``transaction`` is forwarded without state: nothing more is seen of it."""
        call = self._invites.get(transaction)
        if call is not None and call.transaction == transaction:
            self._take_away(call)

    def tried(
        self,
        inbound: TransactionId,
        transaction: TransactionId,
        request: Request,
        path: Path,
        now: float,
    ) -> None:
        """What came in the transaction ``inbound`` was sent on in ``transaction``, like this."""
        if request.method == "BYE":
            self._released(request, now)
            return
        call = self._invites.get(inbound)
        if call is not None and len(call.branches) < MOST_BRANCHES:
            self._branches[transaction] = call, len(call.branches)
            call.transactions.append(transaction)
            call.branches.append(BranchRecord(printable(request.uri_text), _place(path), 0))

    def observe(self, event: TransactionEvent, now: float) -> None:
        """Take from what transactions tell what is of a call."""
        match event:
            case ResponseReceived(transaction, response):
                self._received(transaction, response)
            case RequestReceived(cancels=invite) if invite is not None:
                call = self._invites.get(invite)
                if call is not None:
                    call.is_cancelled = True
            case TimedOut(transaction):
                self._failed(transaction, _TIMEOUT)
            case PathLost(transaction, None):
                self._failed(transaction, _UNAVAILABLE)
            case TransactionEnded(transaction):
                self._ended(transaction, now)

    def responded(
        self,
        transaction: TransactionId,
        request: Request,
        response: Response,
        now: float,
        *,
        by_us: bool,
    ) -> None:
        """A response was sent to where a request came from."""
        method, status = request.method, response.status
        if method not in ("INVITE", "UPDATE") or status == 100:
            return
        call = self._invites.get(transaction)
        if call is None:
            if 200 <= status < 300:
                self._refreshed(request, response, now)
            return
        if transaction != call.transaction or call.answered is not None:
            return
        if status < 200:
            call.ringing = now if call.ringing is None else call.ringing
            return
        call.status, call.is_by_us = status, by_us
        call.reason = printable(response.reason)
        if status >= 300:
            self._end(call, now, self._refused_by(call))
            return
        call.answered = now
        call.callee_tag = _tag(response)
        self._set_deadline(call, response, now)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def handle_timer(self, now: float) -> None:
        """Calls that nothing was heard of for too long are over."""
        for key in self._deadlines.pop_due(now):
            call = self._running.get(key)
            if call is not None:
                self._end(call, now, Release.NOBODY)

    def next_deadline(self) -> float | None:
        """When the next call lasts too long."""
        return self._deadlines.next_deadline()

    def _received(self, transaction: TransactionId, response: Response) -> None:
        found = self._branches.get(transaction)
        if found is None:
            return
        call, index = found
        self._note(call, index, response.status)
        if response.status >= 300:
            call.refusals.add(response.status)
        if 200 <= response.status < 300 and call.answering is None:
            call.answering = index

    def _ended(self, transaction: TransactionId, now: float) -> None:
        self._branches.pop(transaction, None)
        call = self._invites.pop(transaction, None)
        if call is not None and call.transaction == transaction and call.answered is None:
            # Without a final response.
            self._end(call, now, Release.CALLER if call.is_cancelled else Release.PROXY)

    def _released(self, bye: Request, now: float) -> None:
        found = self._of_dialog(bye)
        if found is not None:
            self._end(found[0], now, found[1])

    def _refreshed(self, request: Request, response: Response, now: float) -> None:
        found = self._of_dialog(request)
        if found is not None:
            self._set_deadline(found[0], response, now)

    def _of_dialog(self, request: Request) -> tuple[_Call, Release] | None:
        """The call that a request within a dialog is of, and on which side its sender is."""
        try:
            tags = tag_of(request.headers, FROM) or "", tag_of(request.headers, TO) or ""
            call_id = request.headers.get(CALL_ID) or ""
        except MalformedMessage:
            return None
        for own, other, side in (
            (tags[0], tags[1], Release.CALLER),
            (tags[1], tags[0], Release.CALLEE),
        ):
            call = self._running.get((call_id, own))
            # Another phone that answered too late has a dialog of its own (§13.2.2.4).
            if call is not None and call.answered is not None and call.callee_tag == other:
                return call, side
        return None

    def _set_deadline(self, call: _Call, response: Response, now: float) -> None:
        answered = now if call.answered is None else call.answered
        until = answered + self._settings.longest
        try:
            interval = response.headers.get(SESSION_EXPIRES)
        except MalformedMessage:
            interval = None
        if interval is not None:
            call.session_interval = interval
        if call.session_interval is not None:
            until = min(until, now + call.session_interval)
        self._deadlines.set((call.call_id, call.caller_tag), until)

    def _failed(self, transaction: TransactionId, status: int) -> None:
        found = self._branches.get(transaction)
        if found is not None:
            self._note(*found, status)

    @staticmethod
    def _note(call: _Call, index: int, status: int) -> None:
        branch = call.branches[index]
        if branch.status != status:
            call.branches[index] = BranchRecord(branch.uri, branch.destination, status)

    @staticmethod
    def _refused_by(call: _Call) -> Release:
        if call.is_cancelled and call.status == _CANCELLED:
            return Release.CALLER
        was_theirs = call.status in call.refusals and not call.is_by_us
        return Release.CALLEE if was_theirs else Release.PROXY

    def _end(self, call: _Call, now: float, side: Release) -> None:
        if self._take_away(call) and call.status not in _CHALLENGES:
            self._tell(self._record(call, now, side))

    def _take_away(self, call: _Call) -> bool:
        key = call.call_id, call.caller_tag
        if self._running.pop(key, None) is None:
            return False
        self._deadlines.cancel(key)
        self._users.end(call.user)
        for transaction in call.transactions:
            self._invites.pop(transaction, None)
            self._branches.pop(transaction, None)
        return True

    def _record(self, call: _Call, now: float, side: Release) -> CallRecord:
        chosen = None if call.answering is None else call.branches[call.answering]
        is_answered = call.answered is not None and chosen is not None
        return CallRecord(
            call_id=call.call_id,
            sender=call.sender,
            receiver=call.receiver,
            request_uri=call.request_uri,
            user=call.user,
            source=_place(call.source),
            started=call.started + self._offset,
            ringing=self._unix(call.ringing),
            answered=self._unix(call.answered),
            ended=now + self._offset,
            status=call.status,
            reason=call.reason,
            released_by=side,
            target=chosen.uri if is_answered and chosen is not None else "",
            answered_by=chosen.destination if is_answered and chosen is not None else "",
            branches=tuple(call.branches),
        )

    def _unix(self, moment: float | None) -> float | None:
        return None if moment is None else moment + self._offset


def _tag(response: Response) -> str:
    try:
        return tag_of(response.headers, TO) or ""
    except MalformedMessage:
        return ""


def _place(path: Path) -> str:
    return f"{path.transport.value}:{path.remote}"
