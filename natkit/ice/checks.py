"""Checks that this side makes: requests, retransmissions, and what answered (RFC 8445 §7.2)."""

from dataclasses import dataclass
from enum import Enum, auto

from natkit.address import Address
from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer
from natkit.ice.freezing import count_busy
from natkit.ice.pair import Pair
from natkit.ice.priority import peer_reflexive_priority
from natkit.machine import Path
from natkit.stun.attributes import (
    Attribute,
    ErrorCode,
    Nomination,
    Priority,
    Software,
    UseCandidate,
    Username,
    XorMappedAddress,
)
from natkit.stun.credentials import verify
from natkit.stun.integrity import IntegrityKey
from natkit.stun.message import Message
from natkit.stun.registry import TRANSACTION_ID_LENGTH, MessageClass, Method
from natkit.stun.transaction import ClientTransaction


class Purpose(Enum):
    """What a check is for."""

    CONNECTIVITY = auto()
    CONSENT = auto()
    """Sent once, and answered within the time that consent lasts (RFC 7675 §5.1)."""


@dataclass(slots=True, eq=False)
class Check:
    """One transaction.  ``stopped``: it is retransmitted no more, and fails nothing by silence."""

    session: Session
    stream: StreamSession
    pair: Pair
    path: Path
    purpose: Purpose
    transaction_id: bytes
    transaction: ClientTransaction
    controlling: bool
    nominates: bool
    nomination_value: int
    stopped: bool = False
    answered_elsewhere: bool = False
    """The answer came by another path, so this one is none."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The peer answered, and saw the check come from ``mapped``; ``round_trip`` if it is known."""

    check: Check
    mapped: Address
    round_trip: float | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """The peer has our role and keeps it: 487 (RFC 8445 §7.2.5.1)."""

    check: Check


@dataclass(frozen=True, slots=True)
class Unanswered:
    """There is no answer, or none of use: ``reason`` says which, ``code`` an error's."""

    check: Check
    reason: str
    code: int | None = None


CheckOutcome = Answered | Conflict | Unanswered


class Checks:
    """All the transactions that are under way."""

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._checks: dict[bytes, Check] = {}
        self.begun = 0

    def __len__(self) -> int:
        return len(self._checks)

    def begin(
        self,
        session: Session,
        stream: StreamSession,
        pair: Pair,
        now: float,
        *,
        purpose: Purpose = Purpose.CONNECTIVITY,
        nominates: bool = False,
        nomination_value: int = 0,
    ) -> Check:
        """Send a check over a pair that has a path, to a peer whose parameters are known."""
        state = self._state
        path = pair.path
        assert path is not None  # noqa: S101 - who calls opened the connection first
        transaction_id = state.random(TRANSACTION_ID_LENGTH)
        message = Message.request(
            Method.BINDING,
            transaction_id,
            *self._attributes(session, stream, pair, nominates, nomination_value),
        )
        transaction = ClientTransaction(
            message.encode(integrity=IntegrityKey(stream.remote_key), fingerprint=True),
            now,
            reliable=path.transport.is_reliable,
            timing=state.settings.timing,
            rto=self._rto(session),
        )
        check = Check(
            session,
            stream,
            pair,
            path,
            purpose,
            transaction_id,
            transaction,
            state.role.controlling,
            nominates,
            nomination_value,
        )
        self._checks[transaction_id] = check
        self.begun += 1
        if purpose is Purpose.CONSENT:
            pair.traffic.consent_checks_sent += 1
        else:
            pair.transaction_id = transaction_id
        self._transmit(check, now)
        return check

    def stop(self, pair: Pair) -> None:
        """Retransmit the pair's check no more; its answer still counts (RFC 8445 §7.3.1.4)."""
        check = self._checks.get(pair.transaction_id or b"")
        if check is not None:
            check.stopped = True
        pair.transaction_id = None

    def forget(self, pair: Pair) -> None:
        """Nothing about the pair matters any more."""
        for check in [each for each in self._checks.values() if each.pair is pair]:
            self._end(check)

    def forget_session(self, session: Session) -> None:
        """The session is over."""
        for check in [each for each in self._checks.values() if each.session is session]:
            self._end(check)

    def receive(self, response: Message, path: Path, now: float) -> CheckOutcome | None:
        """Take a response; None for what answers nothing, or is not made with the password."""
        check = self._checks.get(response.transaction_id)
        if check is None or response.method != Method.BINDING:
            self._state.dropped.unexpected += 1
            return None
        if verify(response, check.stream.remote_key) is None:
            # RFC 8489 §9.1.4.  The reason stays if nothing better comes.
            code = response.get(ErrorCode)
            if code is not None and not check.pair.is_valid:
                check.pair.reason = f"an answer without proof said {code.code}"
            self._state.dropped.foreign += 1
            return None
        traffic = check.pair.traffic
        traffic.responses_received += 1
        traffic.last_received = now
        self._end(check)
        return self._judge(check, response, path, now)

    def _judge(self, check: Check, response: Message, path: Path, now: float) -> CheckOutcome:
        if response.unknown_required():
            return Unanswered(check, "the answer has attributes that nobody here understands")
        if response.message_class is MessageClass.ERROR_RESPONSE:
            code = response.get(ErrorCode)
            if code is None:
                return Unanswered(check, "an error without a code came")
            if code.code == 487:
                return Conflict(check)
            return Unanswered(check, f"the peer refused: {code.code}", code.code)
        if path != check.path:
            # RFC 8445 §7.2.5.2.1
            check.answered_elsewhere = True
            return Unanswered(check, f"the answer came by {path.local} from {path.remote}")
        mapped = response.get(XorMappedAddress)
        if mapped is None:
            return Unanswered(check, "the answer names no mapped address")
        # Karn's algorithm: after a retransmission nobody knows which request was answered.
        sent_once = check.transaction.sent == 1
        round_trip = now - check.transaction.started_at if sent_once else None
        if round_trip is not None:
            check.pair.traffic.add_round_trip(round_trip)
        return Answered(check, mapped.address, round_trip)

    def handle_due(self, transaction_id: bytes, now: float) -> Unanswered | None:
        """Retransmit, or give up."""
        check = self._checks.get(transaction_id)
        if check is None:
            return None
        if check.purpose is Purpose.CONSENT:
            self._end(check)
            return None
        if check.transaction.is_over(now):
            self._end(check)
            if check.stopped:
                return None
            times = check.transaction.sent
            return Unanswered(check, f"no answer to {times} transmissions")
        self._transmit(check, now)
        return None

    def _transmit(self, check: Check, now: float) -> None:
        data = check.transaction.take_due(now)
        if data is not None and not check.stopped:
            traffic = check.pair.traffic
            if check.purpose is Purpose.CONNECTIVITY:
                check.pair.transmissions = check.transaction.sent
            if check.transaction.sent > 1:
                traffic.retransmissions_sent += 1
            elif check.purpose is Purpose.CONNECTIVITY:
                traffic.checks_sent += 1
            traffic.last_sent = now
            self._state.send(data, check.path)
        deadline = check.transaction.next_deadline()
        if check.purpose is Purpose.CONSENT:
            deadline = now + self._state.settings.consent_expiry
        self._state.timers.set((Timer.TRANSACTION, check.transaction_id), deadline)

    def _end(self, check: Check) -> None:
        del self._checks[check.transaction_id]
        self._state.timers.cancel((Timer.TRANSACTION, check.transaction_id))
        if check.pair.transaction_id == check.transaction_id:
            check.pair.transaction_id = None

    def _attributes(
        self,
        session: Session,
        stream: StreamSession,
        pair: Pair,
        nominates: bool,  # noqa: FBT001 - as in `begin`
        nomination_value: int,
    ) -> list[Attribute]:
        assert stream.remote is not None  # noqa: S101 - nobody checks before
        fragments = f"{stream.remote.username_fragment}:{session.local.username_fragment}"
        told = pair.local.told
        attributes: list[Attribute] = [
            Username(fragments),
            self._state.role.attribute,
            Priority(peer_reflexive_priority(told.priority, told.transport)),
        ]
        if nominates:
            attributes.append(UseCandidate())
        if nomination_value:
            attributes.append(Nomination(nomination_value))
        if self._state.settings.software is not None:
            attributes.insert(0, Software(self._state.settings.software))
        return attributes

    def _rto(self, session: Session) -> float:
        """The first interval, in seconds (RFC 8445 §14.3).

        It grows by Ta with each pair that waits or is in progress, so that retransmissions leave
        room for new checks, as far as ``maximum_rto``: else a long list would hide what is alive.
        """
        timing = self._state.settings.timing
        busy = count_busy(session.checklists)
        return max(timing.rto, min(self._state.pacing * busy, timing.maximum_rto))
