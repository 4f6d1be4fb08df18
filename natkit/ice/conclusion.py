"""What a session comes to: state, failures, lost paths, and what it needs no more (RFC 8445 §8)."""

from natkit.address import Address
from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer
from natkit.ice.candidate import Candidate, CandidateType
from natkit.ice.checklist import ChecklistState, may_pair, new_pair
from natkit.ice.checks import Checks
from natkit.ice.connections import Connections
from natkit.ice.consent import Consents
from natkit.ice.events import (
    BaseReleased,
    ConsentLost,
    Failed,
    IceState,
    RestartNeeded,
    RestartReason,
    StateChanged,
    StreamId,
)
from natkit.ice.nomination import RELEASE_DELAY, Nominations
from natkit.ice.pair import Local, Pair
from natkit.ice.parameters import Parameters
from natkit.ice.priority import candidate_priority
from natkit.ice.statistics import explain

MOST_PAST_SESSIONS = 64
"""Of how many left sessions, of all streams, the peer's parameters are known again if late."""


class Conclusion:
    """Judges the sessions after each change, and ends what is over."""

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
        self._past: list[tuple[StreamId, Parameters | None]] = []
        self.ice_state = IceState.NEW

    # ── the state ───────────────────────────────────────────────────────────────────────────────

    def update(self, now: float) -> None:
        """Something changed: judge anew."""
        self._state.changed = False
        if not self._state.closed:
            for stream in self._state.session.streams:
                self._judge(stream, now)
        found = self._find_state()
        if found is not self.ice_state:
            self.ice_state = found
            self._state.tell(StateChanged(found))

    def _find_state(self) -> IceState:
        if self._state.closed:
            return IceState.CLOSED
        streams = self._state.session.streams
        if any(stream.failed for stream in streams):
            return IceState.FAILED
        if any(stream.lost for stream in streams):
            return IceState.DISCONNECTED
        if self._state.session.is_completed:
            return IceState.COMPLETED
        if streams and all(
            stream.carrier(component) is not None
            for stream in streams
            for component in range(1, stream.components + 1)
        ):
            return IceState.CONNECTED
        if any(stream.checklist.started_at is not None for stream in streams):
            return IceState.CHECKING
        return IceState.NEW

    def _judge(self, stream: StreamSession, now: float) -> None:
        """Whether a check list has failed (RFC 8445 §7.2.5.4; RFC 8863 §4)."""
        if stream.failed or stream.is_completed or stream.remote is None or stream.lost:
            return
        checklist = stream.checklist
        settings = self._state.settings
        exhausted = any(
            component not in stream.selected and checklist.is_exhausted(component)
            for component in range(1, stream.components + 1)
        )
        if settings.lite or not exhausted or stream.resolving:
            return
        ended = stream.remote_ended and self._state.locals[stream.stream].ended
        begun = stream.last_news if checklist.started_at is None else checklist.started_at
        # Without the end of the candidates the last of them is what is known of it (RFC 8838 §8.1).
        patient_until = settings.patience + (begun if ended else max(begun, stream.last_news))
        if now < patient_until:
            self._state.timers.set((Timer.PATIENCE, stream.stream), patient_until)
            return
        checklist.state = ChecklistState.FAILED
        stream.failed = True
        local = self._state.locals[stream.stream]
        self._state.tell(Failed(stream.stream, explain(stream, local, self._state.dropped)))

    # ── completion ──────────────────────────────────────────────────────────────────────────────

    def selected(self, session: Session, now: float) -> None:
        """A component got its selected pair."""
        if session is self._state.session and session.is_completed:
            if self._state.previous is not None:
                self._end(self._state.previous)
                self._state.previous = None
            self._state.timers.set((Timer.RELEASE, None), now + RELEASE_DELAY)

    def release(self, now: float) -> None:  # noqa: ARG002 - as the other timers' handlers
        """The peer could complete too: give up what no selected pair needs (RFC 8445 §8.3)."""
        session = self._state.session
        if not session.is_completed or self._state.settings.renominate:
            return
        selected = {id(pair) for stream in session.streams for pair in stream.selected.values()}
        for pair in list(self._state.connections.values()):
            if id(pair) not in selected:
                self._connections.close(pair)
        for stream in session.streams:
            needed = {pair.local.source.base for pair in stream.selected.values()}
            for base in sorted(self._state.locals[stream.stream].bases - needed):
                self._state.tell(BaseReleased(stream.stream, base))

    # ── losses ──────────────────────────────────────────────────────────────────────────────────

    def consent_lost(self, session: Session, stream: StreamSession, pair: Pair, now: float) -> None:
        """Consent expired or was revoked: the pair may carry no more data (RFC 7675 §5.1)."""
        self._state.tell(ConsentLost(stream.stream, pair.component))
        self._lose(session, stream, pair, RestartReason.CONSENT_LOST, now)

    def path_lost(self, pair: Pair, now: float) -> None:
        """The connection of a pair ended."""
        self._drop(pair, "its connection ended", RestartReason.PATH_CLOSED, now)

    def base_removed(self, number: StreamId, base: Address, now: float) -> None:
        """The pairs of a base are gone."""
        for session in self._state.sessions:
            for pair in list(session.streams[number].checklist.pairs):
                if pair.local.source.base == base:
                    self._drop(pair, "its socket is gone", RestartReason.BASE_REMOVED, now)

    def _drop(self, pair: Pair, reason: str, why: RestartReason, now: float) -> None:
        found = self._owner(pair)
        self._checks.forget(pair)
        self._connections.close(pair)
        pair.fail(reason)
        self._state.changed = True
        if found is None:
            return
        session, stream = found
        if stream.selected.get(pair.component) is pair:
            self._consents.end(pair)
            self._lose(session, stream, pair, why, now)
        elif session is self._state.session:
            self._nominations.unanswered(session, stream, pair, now)

    def _lose(
        self, session: Session, stream: StreamSession, pair: Pair, why: RestartReason, now: float
    ) -> None:
        component = pair.component
        pair.nominated = False
        stream.selected.pop(component, None)
        stream.lost.add(component)
        self._state.changed = True
        if session is not self._state.session:
            return
        stream.checklist.state = ChecklistState.RUNNING
        if self._state.settings.renominate and stream.best_valid(component) is not None:
            self._nominations.consider(session, stream, component, now)
        else:
            self._state.tell(RestartNeeded(stream.stream, component, why))

    def _owner(self, pair: Pair) -> tuple[Session, StreamSession] | None:
        for session in self._state.sessions:
            for stream in session.streams:
                if stream.checklist.get(pair.key) is pair:
                    return session, stream
        return None

    # ── sessions ────────────────────────────────────────────────────────────────────────────────

    def supersede(self, old: Session) -> None:
        """A restart: ``old`` carries the data on, or is over if it never got that far."""
        state = self._state
        for stream in old.streams:
            self._stop(stream)
        state.timers.cancel((Timer.RELEASE, None))
        carries = any(
            stream.carrier(component) is not None
            for stream in old.streams
            for component in range(1, stream.components + 1)
        )
        if not carries:
            self._end(old)
            return
        if state.previous is not None:
            self._end(state.previous)
        state.previous = old

    def begin_anew(self, stream: StreamSession, now: float) -> None:
        """The peer's side of a stream is another one; ours stays as it was told."""
        self._stop(stream)
        self._end_stream(stream)
        after = stream.successor(now)
        # Checks of the peer's new session may have come before its description.
        after.early = stream.early
        self._state.session.streams[stream.stream] = after
        self._state.changed = True

    def _stop(self, stream: StreamSession) -> None:
        """Check and nominate no more."""
        timers = self._state.timers
        self._past.append((stream.stream, stream.remote))
        del self._past[:-MOST_PAST_SESSIONS]
        stream.nominating.clear()
        stream.checklist.nominations.clear()
        timers.cancel((Timer.PATIENCE, stream.stream))
        for component in range(1, stream.components + 1):
            timers.cancel((Timer.NOMINATION, (stream.stream, component)))
            timers.cancel((Timer.ALTERNATES, (stream.stream, component)))
        for number in stream.resolving:
            timers.cancel((Timer.RESOLUTION, number))
        stream.resolving.clear()

    def _end(self, session: Session) -> None:
        for stream in session.streams:
            self._end_stream(stream)

    def _end_stream(self, stream: StreamSession) -> None:
        for pair in stream.checklist.pairs:
            self._checks.forget(pair)
            self._consents.end(pair)
            self._connections.close(pair)

    def past_remotes(self, stream: StreamId) -> list[Parameters]:
        """The peer's parameters in the sessions that were left."""
        return [past for number, past in self._past if number == stream and past is not None]

    # ── peers without ICE ───────────────────────────────────────────────────────────────────────

    def use_unchecked(
        self, stream: StreamSession, local: Local, remote: Address, now: float
    ) -> None:
        """Select the pair of a peer that is never checked, in place of another such one."""
        component = local.source.component
        described = Candidate(
            foundation="remote",
            component=component,
            transport=local.source.transport,
            priority=candidate_priority(CandidateType.HOST, 0xFFFF, component),
            address=remote,
            type=CandidateType.HOST,
        )
        controlling = self._state.role.controlling
        pair = new_pair(local, described, remote, controlling=controlling)
        known = stream.checklist.get(pair.key)
        if known is None:
            known = pair
            stream.checklist.add(pair)
        known.succeed(local.told, now)
        known.reason = "the peer has no ICE"
        self._nominations.select(self._state.session, stream, known, now)

    # ── two lite agents ─────────────────────────────────────────────────────────────────────────

    def pair_lite(self, stream: StreamSession, now: float) -> None:
        """Between lite agents nothing is checked: the best pair of each component is it (§8.2)."""
        remote = stream.remote
        if remote is None or not remote.lite or not self._state.settings.lite:
            return
        for component in range(1, stream.components + 1):
            best: Pair | None = None
            for local in self._state.locals[stream.stream]:
                for key, candidate in stream.remote_candidates.items():
                    if key[0] != component or candidate.type is not CandidateType.HOST:
                        continue
                    if not may_pair(local, candidate, key[3]):
                        continue
                    pair = new_pair(
                        local, candidate, key[3], controlling=self._state.role.controlling
                    )
                    if best is None or pair.priority > best.priority:
                        best = pair
            current = stream.selected.get(component)
            if best is None or (current is not None and current.priority >= best.priority):
                continue
            if stream.checklist.get(best.key) is None:
                stream.checklist.add(best)
                best.succeed(best.local.told, now)
                best.reason = "both agents are lite"
                self._nominations.select(self._state.session, stream, best, now)
