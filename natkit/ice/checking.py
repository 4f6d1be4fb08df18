"""The course of the checks: one every Ta, and what follows from each outcome (RFC 8445 §7.2)."""

from natkit.address import Address
from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer
from natkit.ice.candidate import Candidate, CandidateType
from natkit.ice.checklist import ChecklistState
from natkit.ice.checks import Answered, Check, CheckOutcome, Checks, Conflict, Purpose, Unanswered
from natkit.ice.connections import Connections
from natkit.ice.consent import Consents
from natkit.ice.events import CandidateDiscovered, RoleChanged
from natkit.ice.explanation import PairState
from natkit.ice.freezing import next_to_thaw, thaw_alike
from natkit.ice.nomination import Nominations
from natkit.ice.pair import Pair
from natkit.ice.priority import peer_reflexive_priority
from natkit.machine import Failure, Path, RequestId
from natkit.stun.registry import StunError

PACE = (Timer.PACE, None)


class Checking:
    """Sends checks in their turn and acts upon what becomes of them."""

    def __init__(
        self,
        state: AgentState,
        checks: Checks,
        consents: Consents,
        nominations: Nominations,
        connections: Connections,
    ) -> None:
        self._state = state
        self._checks = checks
        self._consents = consents
        self._nominations = nominations
        self._connections = connections
        self._ready_at = 0.0
        self._has_slot = False
        self._turn = 0

    # ── pacing ──────────────────────────────────────────────────────────────────────────────────

    def wake(self, now: float) -> None:
        """There may be something to check."""
        if PACE not in self._state.timers and not self._state.settings.lite and self._has_work():
            self._state.timers.set(PACE, max(now, self._ready_at))

    def handle_pace(self, now: float) -> None:
        """Ta has passed: send the next check, in a time slot of the process (RFC 8445 §14.2)."""
        state = self._state
        if not self._has_slot:
            slot = state.pacer.reserve(now)
            if slot > now:
                self._has_slot = True
                state.timers.set(PACE, slot)
                return
        self._has_slot = False
        self._ready_at = now + state.pacing
        self._check_next(now)
        self.wake(now)

    def _has_work(self) -> bool:
        session = self._state.session
        for stream in session.streams:
            checklist = stream.checklist
            if stream.remote is None:
                continue
            if checklist.nominations:
                return True
            if checklist.state is ChecklistState.RUNNING and (
                any(pair.state is PairState.WAITING for pair in checklist.pairs)
                or next_to_thaw(session.checklists, checklist) is not None
            ):
                return True
        return False

    def _check_next(self, now: float) -> None:
        """One check of the check list whose turn it is, or of the next that has one."""
        session = self._state.session
        streams = session.streams
        for offset in range(len(streams)):
            place = (self._turn + offset) % len(streams)
            stream = streams[place]
            if stream.remote is None:
                continue
            checklist = stream.checklist
            pair = checklist.next_pair()
            if pair is None and checklist.state is ChecklistState.RUNNING:
                pair = next_to_thaw(session.checklists, checklist)
            if pair is not None:
                self._turn = place + 1
                self._check(session, stream, pair, now)
                return

    def _check(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        checklist = stream.checklist
        if checklist.started_at is None:
            checklist.started_at = now
            self._state.changed = True
            patience = now + self._state.settings.patience
            self._state.timers.set((Timer.PATIENCE, stream.stream), patience)
        nominates = stream.nominating.get(pair.component) is pair
        if not pair.is_valid:
            pair.state = PairState.IN_PROGRESS
            pair.transmissions = 0
            pair.reason = "its check is not answered yet"
        if pair.path is None:
            self._connections.open(session, stream, pair, now)
            return
        if pair.transaction_id is not None:
            self._checks.stop(pair)
        self._checks.begin(
            session,
            stream,
            pair,
            now,
            nominates=nominates,
            nomination_value=pair.nomination_value if nominates else 0,
        )

    def connected(self, number: RequestId, result: Path | Failure, now: float) -> None:
        """The connection of a pair stands, or does not."""
        connecting = self._connections.answer(number, result)
        if connecting is None:
            return
        pair = connecting.pair
        if isinstance(result, Failure):
            self._fail(connecting.session, connecting.stream, pair, result.reason, now)
        elif pair.state is PairState.IN_PROGRESS:
            self._checks.begin(connecting.session, connecting.stream, pair, now)
        else:
            self._connections.close(pair)

    def connection_expired(self, number: RequestId, now: float) -> None:
        """The shell could not connect in time."""
        connecting = self._connections.expire(number)
        if connecting is not None:
            reason = "no connection in time"
            self._fail(connecting.session, connecting.stream, connecting.pair, reason, now)

    # ── outcomes ────────────────────────────────────────────────────────────────────────────────

    def conclude(self, outcome: CheckOutcome, now: float) -> None:
        """A check was answered, or will not be."""
        match outcome:
            case Answered(check, mapped):
                self._answered(check, mapped, now)
            case Conflict(check):
                self._conflicted(check, now)
            case Unanswered(check, reason, code):
                self._unanswered(check, reason, code, now)
        self.wake(now)

    def _answered(self, check: Check, mapped: Address, now: float) -> None:
        pair, stream = check.pair, check.stream
        self._consents.answered(pair, now)
        if check.purpose is Purpose.CONSENT:
            return
        if check.session is not self._state.session:
            return
        was_dropped = pair.state is PairState.DROPPED
        pair.succeed(self._seen_as(stream, pair, mapped), now)
        if was_dropped and not pair.wants_nomination:
            # RFC 8445 §8.1.2: the answer is waited for, but another pair was selected.
            return
        thaw_alike(check.session.checklists, pair)
        self._state.changed = True
        if check.nominates and check.controlling:
            self._nominations.answered(check.session, stream, pair, now)
        self._nominations.valid(check.session, stream, pair, now)

    def _seen_as(self, stream: StreamSession, pair: Pair, mapped: Address) -> Candidate:
        """The local candidate of the valid pair, which may be a new one (RFC 8445 §7.2.5.3.1)."""
        told = pair.local.told
        locals_ = self._state.locals[stream.stream]
        known = locals_.at(told.transport, pair.component, mapped)
        if known is not None and known.source.base == pair.local.source.base:
            return known.told
        if mapped == pair.local.source.address:
            return told
        for other in stream.checklist.of_component(pair.component):
            if (
                other.mapped is not None
                and other.mapped.address == mapped
                and other.local.source.base == pair.local.source.base
            ):
                return other.mapped
        stream.discovered_count += 1
        discovered = Candidate(
            foundation=f"local{stream.discovered_count}",
            component=pair.component,
            transport=told.transport,
            priority=peer_reflexive_priority(told.priority, told.transport),
            address=mapped,
            type=CandidateType.PEER_REFLEXIVE,
            related=pair.local.source.base,
            tcp_type=told.tcp_type,
            username_fragment=told.username_fragment,
        )
        self._state.tell(CandidateDiscovered(stream.stream, discovered, is_local=True))
        return discovered

    def _conflicted(self, check: Check, now: float) -> None:
        state = self._state
        lite = check.stream.remote is not None and check.stream.remote.lite
        if check.controlling is state.role.controlling and not lite:
            self.change_role(not check.controlling)
        if check.purpose is Purpose.CONNECTIVITY and not check.stopped:
            if check.nominates:
                self._nominations.unanswered(check.session, check.stream, check.pair, now)
            if not check.pair.is_valid:
                check.stream.checklist.trigger(check.pair)

    def change_role(self, controlling: bool) -> None:  # noqa: FBT001 - a role is one of two
        """A conflict was resolved against us, or the peer is lite."""
        self._state.set_role(controlling=controlling)
        self.role_changed()

    def role_changed(self) -> None:
        """The role is another one already."""
        controlling = self._state.role.controlling
        self._state.tell(RoleChanged(controlling))
        for stream in self._state.session.streams:
            for pair in stream.checklist.pairs:
                pair.wants_nomination = pair.wants_nomination and not controlling
        if not controlling:
            self._nominations.withdraw()

    def consider_all(self, now: float) -> None:
        """Nominate what waits to be, as after a change of the role."""
        session = self._state.session
        for stream in session.streams:
            for component in range(1, stream.components + 1):
                self._nominations.consider(session, stream, component, now)

    def _unanswered(self, check: Check, reason: str, code: int | None, now: float) -> None:
        if check.purpose is Purpose.CONSENT:
            if code == StunError.FORBIDDEN:
                self._consents.revoked(check.pair, now)
            return
        if check.stopped:
            return
        if check.session is not self._state.session:
            return
        if code is None and self._is_worth_another(check):
            if check.nominates:
                check.stream.checklist.nominations.append(check.pair)
            else:
                check.pair.was_repeated = True
                check.stream.checklist.trigger(check.pair)
            return
        self._fail(check.session, check.stream, check.pair, reason, now)

    def _is_worth_another(self, check: Check) -> bool:
        """Whether the path seems alive though nothing answered: the peer was heard meanwhile.

        Where three packets in ten are lost each way, one check in a hundred stays unanswered.
        """
        pair = check.pair
        heard = pair.traffic.last_received
        if heard is None or heard <= check.transaction.started_at or check.answered_elsewhere:
            return False
        if check.nominates:
            return check.stream.nominating.get(pair.component) is pair
        return not pair.was_repeated

    def _fail(
        self, session: Session, stream: StreamSession, pair: Pair, reason: str, now: float
    ) -> None:
        if stream.selected.get(pair.component) is pair:
            # It is in use, and consent decides about it.
            self._nominations.unanswered(session, stream, pair, now)
            return
        pair.fail(reason)
        self._state.changed = True
        self._connections.close(pair)
        self._nominations.unanswered(session, stream, pair, now)
