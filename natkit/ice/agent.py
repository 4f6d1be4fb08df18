"""The ICE agent: a machine that is fed candidates and finds the path to its peer (RFC 8445)."""

from collections.abc import Sequence

from natkit.address import Address
from natkit.errors import MalformedMessage, MisuseError
from natkit.ice.agent_state import AgentState, Session, StreamSession, Timer, described
from natkit.ice.answers import answer_check
from natkit.ice.candidate import Candidate, LocalCandidate
from natkit.ice.checking import PACE, Checking
from natkit.ice.checks import Checks
from natkit.ice.conclusion import Conclusion
from natkit.ice.connections import Connections
from natkit.ice.consent import Consents
from natkit.ice.events import (
    DataReceived,
    IceEvent,
    IceResult,
    IceState,
    Restarted,
    SelectedPair,
    StreamId,
)
from natkit.ice.explanation import Explanation
from natkit.ice.hearing import Hearing
from natkit.ice.local_candidates import LocalCandidates
from natkit.ice.nomination import Nominations
from natkit.ice.pacing import Pacer
from natkit.ice.pair import Pair
from natkit.ice.pairing import Pairing
from natkit.ice.parameters import Parameters, draw_credentials
from natkit.ice.renomination import Renomination
from natkit.ice.settings import IceSettings
from natkit.ice.statistics import AgentStatistics, explain, statistics_of
from natkit.machine import Failure, Path, RandomBytes, RequestId, Transmit, Transport
from natkit.stun.demux import is_stun
from natkit.stun.message import Message
from natkit.stun.registry import MessageClass, Method


class Agent:
    """One ICE agent; see :mod:`natkit.ice` for its use and :mod:`natkit.machine` for the contract.

    ``pacer`` is to be shared by all agents and gatherers of the process.  ``credentials`` are a
    username fragment and a password in place of drawn ones, for the first session.

    What is sent goes from the base of a local candidate, which a Transmit has for ``path.local``:
    the shell knows the socket by it, or the TURN allocation where it is a relayed address.
    Messages on TCP paths are framed by RFC 4571 already; those that come are given without.
    """

    def __init__(
        self,
        settings: IceSettings | None = None,
        *,
        random: RandomBytes,
        pacer: Pacer | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self.settings = settings or IceSettings()
        self._random = random
        session = Session(0, self._parameters(credentials or draw_credentials(random)))
        self._state = state = AgentState(self.settings, random, pacer or Pacer(), session)
        self._checks = Checks(state)
        self._consents = Consents(state, self._checks)
        self._connections = Connections(state)
        self._nominations = Nominations(state, self._checks, self._consents)
        self._renomination = Renomination(state, self._checks, self._nominations)
        self._checking = Checking(
            state, self._checks, self._consents, self._nominations, self._connections
        )
        self._pairing = Pairing(state, self._connections)
        self._hearing = Hearing(
            state,
            self._checks,
            self._checking,
            self._nominations,
            self._connections,
            self._pairing,
        )
        self._conclusion = Conclusion(
            state, self._checks, self._consents, self._nominations, self._connections
        )
        self._nominations.on_selected = self._selected
        self._consents.on_lost = self._conclusion.consent_lost
        self._consents.on_silent = self._renomination.silent

    # ── what the peer is told ───────────────────────────────────────────────────────────────────

    @property
    def local_parameters(self) -> Parameters:
        """For the peer; new ones after each restart."""
        return self._state.session.local

    @property
    def generation(self) -> int:
        """How often the agent has restarted."""
        return self._state.session.generation

    @property
    def controlling(self) -> bool:
        """The role at this moment."""
        return self._state.role.controlling

    @property
    def state(self) -> IceState:
        """How far the agent is."""
        return self._conclusion.ice_state

    @property
    def username_fragments(self) -> tuple[str, ...]:
        """Those that checks for this agent may name: a shared socket finds the agent by them."""
        return tuple(each.local.username_fragment for each in self._state.sessions)

    def local_candidates(self, stream: StreamId) -> tuple[Candidate, ...]:
        """All local candidates as the peer is to be told, the best first."""
        told = (local.told for local in self._locals(stream))
        return tuple(sorted(told, key=lambda each: -each.priority))

    def remote_candidates(self, stream: StreamId) -> tuple[Candidate, ...]:
        """Those of the peer that are known, with the peer-reflexive ones."""
        return tuple(self._stream(stream).remote_candidates.values())

    # ── the user's side ─────────────────────────────────────────────────────────────────────────

    def add_stream(self, components: int = 1) -> StreamId:
        """A data stream of so many components; MisuseError unless 1 to 256."""
        if not 1 <= components <= 256:
            raise MisuseError(f"a stream of {components} components")
        stream = len(self._state.locals)
        self._state.locals.append(LocalCandidates(components, self._state.foundations))
        for session in self._state.sessions:
            session.streams.append(StreamSession(stream, components))
        return stream

    def add_local_candidate(
        self, stream: StreamId, candidate: LocalCandidate, now: float
    ) -> Candidate | None:
        """Take a gathered candidate, at any time; what the peer is to be told of it.

        None for one that is redundant (RFC 8445 §5.1.3).  MisuseError for a component that the
        stream does not have, and for a base of another component.
        """
        fragment = self._state.session.local.username_fragment
        local = self._locals(stream).add(candidate, fragment)
        if local is None:
            return None
        session_stream = self._stream(stream)
        session_stream.last_news = now
        self._pairing.add_local(session_stream, local)
        self._after(now)
        return local.told

    def end_of_local_candidates(self, stream: StreamId, now: float) -> None:
        """The gatherer has no more for this stream (RFC 8838 §14)."""
        self._locals(stream).ended = True
        self._state.changed = True
        self._after(now)

    def remove_base(self, stream: StreamId, base: Address, now: float) -> None:
        """The socket or allocation of ``base`` is gone, and its candidates and pairs with it."""
        self._locals(stream).remove(base)
        self._conclusion.base_removed(stream, base, now)
        self._after(now)

    def set_remote_parameters(self, stream: StreamId, parameters: Parameters, now: float) -> None:
        """The peer's description came.

        Parameters other than the current session's mean that the peer restarts: so does this side
        then (RFC 8445 §9), and tells it by :class:`~natkit.ice.events.Restarted`.
        """
        found = self._stream(stream)
        current = found.remote
        if current is not None and _same_session(current, parameters):
            found.remote = parameters
            return
        if current is not None:
            if self._is_of_the_past(stream, parameters):
                self._state.dropped.stale += 1
                return
            self._follow(found, now)
            found = self._stream(stream)
        found.learn(parameters)
        found.last_news = now
        self._state.changed = True
        if parameters.lite and not self.settings.lite and not self._state.role.controlling:
            # RFC 8445 §6.1.1
            self._checking.change_role(controlling=True)
        self._pairing.add_pending(found, now)
        self._hearing.replay(self._state.session, found, now)
        self._conclusion.pair_lite(found, now)
        self._after(now)

    def add_remote_candidate(self, stream: StreamId, candidate: Candidate, now: float) -> None:
        """One of the peer's candidates, at any time and in any order (RFC 8838 §11)."""
        self._pairing.add_remote(self._stream(stream), candidate, now)
        self._conclusion.pair_lite(self._stream(stream), now)
        self._after(now)

    def end_of_remote_candidates(self, stream: StreamId, now: float) -> None:
        """The peer has no more (RFC 8838 §14); at once where it does not trickle."""
        self._stream(stream).remote_ended = True
        self._state.changed = True
        self._after(now)

    def take_role(self, now: float, *, controlling: bool) -> None:
        """Take the role that signalling gives, where it gives it late (RFC 8445 §6.1.1).

        For before the checks: once they are under way, the two agents settle it among themselves.
        """
        if self._state.role.controlling is not controlling:
            self._checking.change_role(controlling)
            self._after(now)

    def restart(self, now: float) -> None:
        """Begin a new session with new parameters (RFC 8445 §9).

        The local candidates stay, and more may be added; data keeps to the old pairs until new
        ones are selected.  The peer must be told the new parameters and all candidates.
        """
        self._restart(now, by_peer=False)
        self._after(now)

    def send(self, stream: StreamId, component: int, data: bytes, now: float) -> bool:
        """Send data over the selected pair, or the best valid one so far.

        False, and nothing is sent, where there is none or consent is lost.
        """
        pair = self._carrier(stream, component)
        if pair is None or pair.path is None:
            return False
        traffic = pair.traffic
        traffic.packets_sent += 1
        traffic.bytes_sent += len(data)
        traffic.last_sent = now
        self._state.send(data, pair.path)
        return True

    def use_without_ice(
        self, stream: StreamId, component: int, base: Address, remote: Address, now: float
    ) -> None:
        """Exchange data with a peer that has no ICE, unchecked, from a base to its address.

        Binding indications keep the NAT's binding while nothing is sent (RFC 8445 §11), as there is
        no consent.  MisuseError for a base of no UDP candidate, or once the peer's parameters came.
        """
        found = self._stream(stream)
        local = self._locals(stream).sender(Transport.UDP, component, base)
        if local is None:
            raise MisuseError(f"{base} is no base of component {component}")
        if found.remote is not None:
            raise MisuseError("the peer has ICE: its parameters came")
        self._conclusion.use_unchecked(found, local, remote, now)
        self._after(now)

    def selected_pair(self, stream: StreamId, component: int) -> SelectedPair | None:
        """The selected pair of a component, or None."""
        for session in self._state.sessions:
            pair = session.streams[stream].selected.get(component)
            if pair is not None:
                return described(pair)
        return None

    def explain(self, stream: StreamId) -> Explanation:
        """What was tried for a stream and what came of it."""
        return explain(self._stream(stream), self._locals(stream), self._state.dropped)

    def statistics(self) -> AgentStatistics:
        """What was counted so far."""
        return statistics_of(self._state, self._checks.begun)

    def close(self, now: float) -> None:
        """End everything; connections are closed, and nothing is sent or told any more."""
        self._state.closed = True
        self._state.timers.clear()
        self._consents.end_all()
        for session in self._state.sessions:
            self._checks.forget_session(session)
        self._connections.close_all()
        self._conclusion.update(now)

    # ── the contract of machines ────────────────────────────────────────────────────────────────

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """A datagram, or a packet of a connection, came: a check, an answer, or data."""
        if self._state.closed:
            return
        message: Message | None = None
        if is_stun(data):
            try:
                message = Message.parse(data)
            except MalformedMessage:
                # RFC 7983 §5: its first byte and the cookie could be an application's by chance.
                if not self._take_data(data, path, now):
                    self._state.dropped.malformed += 1
                return
        if message is None:
            if not self._take_data(data, path, now):
                self._state.dropped.unproven += 1
            return
        if message.method == Method.BINDING and message.message_class is MessageClass.REQUEST:
            self._take_check(message, path, now)
        elif message.message_class in (
            MessageClass.SUCCESS_RESPONSE,
            MessageClass.ERROR_RESPONSE,
        ):
            outcome = self._checks.receive(message, path, now)
            if outcome is not None:
                self._checking.conclude(outcome, now)
        elif message.method != Method.BINDING:
            self._state.dropped.unexpected += 1
        self._after(now)

    def disconnected(self, path: Path, now: float) -> None:
        """A connection ended."""
        pair = self._connections.ended(path)
        if pair is not None:
            self._conclusion.path_lost(pair, now)
            self._after(now)

    def answer(self, request_id: RequestId, result: IceResult | Failure, now: float) -> None:
        """The outcome of a Connect or a ResolveName."""
        if isinstance(result, tuple) and not isinstance(result, Path):
            self._pairing.resolved(request_id, result, now)
        elif isinstance(result, Path) or not self._pairing.resolved(request_id, (), now):
            self._checking.connected(request_id, result, now)
        self._checking.wake(now)
        self._after(now)

    def handle_timer(self, now: float) -> None:
        """Send what is due, give up what is over."""
        for kind, subject in self._state.timers.pop_due(now):
            self._handle(kind, subject, now)
        self._after(now)

    def next_deadline(self) -> float | None:
        """When to call :meth:`handle_timer`, in monotonic seconds."""
        return self._state.timers.next_deadline()

    def transmits(self) -> Sequence[Transmit]:
        """Take what is to be sent."""
        taken, self._state.transmits = self._state.transmits, []
        return taken

    def next_event(self) -> IceEvent | None:
        """Take the next event, or None."""
        events = self._state.events
        return events.popleft() if events else None

    # ── packets ─────────────────────────────────────────────────────────────────────────────────

    def _take_check(self, request: Message, path: Path, now: float) -> None:
        place = self._place_of(path)
        if place is None:
            self._state.dropped.homeless += 1
            return
        check = answer_check(self._state, request, path, *place)
        if check is not None:
            self._hearing.heard(check, now)

    def _place_of(self, path: Path) -> tuple[StreamId, int] | None:
        """The stream and component that receive on a path."""
        connected = self._state.connections.get(path)
        for stream, local in enumerate(self._state.locals):
            if connected is None:
                component = local.component_of(path.transport, path.local)
                if component is not None:
                    return stream, component
            else:
                for session in self._state.sessions:
                    if session.streams[stream].checklist.get(connected.key) is connected:
                        return stream, connected.component
        return None

    def _take_data(self, data: bytes, path: Path, now: float) -> bool:
        """Data counts from where the peer proved to be (RFC 8445 §12.2)."""
        connected = self._state.connections.get(path)
        for session in self._state.sessions:
            for stream in session.streams:
                pair = stream.checklist.get((path.transport, path.local, path.remote))
                if pair is None and connected is not None:
                    pair = connected if stream.checklist.get(connected.key) is connected else None
                if pair is None or not pair.is_heard:
                    continue
                traffic = pair.traffic
                traffic.packets_received += 1
                traffic.bytes_received += len(data)
                traffic.last_received = now
                self._state.tell(DataReceived(stream.stream, pair.component, data))
                return True
        # Its check was answered, so it may send, and does: DTLS's first flight comes at once.
        for stream in self._state.session.streams:
            early = stream.early.get(path)
            if early is not None:
                self._state.tell(DataReceived(stream.stream, early.component, data))
                return True
        return False

    def _carrier(self, stream: StreamId, component: int) -> Pair | None:
        if self._state.closed:
            return None
        self._stream(stream)
        selected = self._state.session.streams[stream].selected.get(component)
        if selected is not None:
            return selected
        for session in reversed(self._state.sessions):
            pair = session.streams[stream].carrier(component)
            if pair is not None:
                return pair
        return None

    # ── timers ──────────────────────────────────────────────────────────────────────────────────

    def _handle(self, kind: Timer, subject: object, now: float) -> None:
        match kind:
            case Timer.PACE:
                self._checking.handle_pace(now)
            case Timer.TRANSACTION:
                assert isinstance(subject, bytes)  # noqa: S101 - what its key is made of
                unanswered = self._checks.handle_due(subject, now)
                if unanswered is not None:
                    self._checking.conclude(unanswered, now)
            case Timer.CONSENT:
                assert isinstance(subject, Pair)  # noqa: S101
                self._consents.handle_consent(subject, now)
            case Timer.KEEPALIVE:
                assert isinstance(subject, Pair)  # noqa: S101
                self._consents.handle_keepalive(subject, now)
            case Timer.CONNECTION:
                assert isinstance(subject, int)  # noqa: S101
                self._checking.connection_expired(subject, now)
            case Timer.RESOLUTION:
                assert isinstance(subject, int)  # noqa: S101
                self._pairing.resolved(subject, (), now)
            case Timer.NOMINATION | Timer.ALTERNATES:
                assert isinstance(subject, tuple)  # noqa: S101
                stream = self._state.session.streams[subject[0]]
                if kind is Timer.NOMINATION:
                    self._nominations.consider(self._state.session, stream, subject[1], now)
                    self._checking.wake(now)
                else:
                    self._renomination.handle_alternates(stream, subject[1], now)
            case Timer.PATIENCE:
                self._state.changed = True
            case Timer.RELEASE:
                self._conclusion.release(now)

    def _after(self, now: float) -> None:
        """What follows each input: more checks, and what the changes come to."""
        if self._state.closed:
            return
        if PACE not in self._state.timers:
            self._checking.wake(now)
        if self._state.changed:
            self._conclusion.update(now)

    # ── sessions ────────────────────────────────────────────────────────────────────────────────

    def _follow(self, stream: StreamSession, now: float) -> None:
        """The peer has begun a new session.

        If both restart at once, what the peer had told before it heard of our restart looks like
        its part of our session, until its real one comes.  To answer that by another restart would
        make the peer restart too, and so on without end.
        """
        state = self._state
        lite_and_done = stream.remote is not None and stream.remote.lite and stream.selected
        if not state.session.is_own or stream.mutual or lite_and_done:
            self._restart(now, by_peer=True)
        else:
            self._conclusion.begin_anew(stream, now)
            state.tell(Restarted(state.session.generation, by_peer=True))

    def _restart(self, now: float, *, by_peer: bool) -> None:
        state = self._state
        old = state.session
        session = Session(
            old.generation + 1,
            self._parameters(draw_credentials(self._random)),
            is_own=not by_peer,
        )
        for stream, local in zip(old.streams, state.locals, strict=True):
            local.retold(session.local.username_fragment)
            session.streams.append(stream.successor(now))
        self._conclusion.supersede(old)
        state.session = session
        state.changed = True
        state.tell(Restarted(session.generation, by_peer))

    def _is_of_the_past(self, stream: StreamId, parameters: Parameters) -> bool:
        """Whether they are of a session that this side has left by a restart of its own."""
        past = self._conclusion.past_remotes(stream)
        return any(_same_session(each, parameters) for each in past)

    def _parameters(self, credentials: tuple[str, str]) -> Parameters:
        return Parameters(
            username_fragment=credentials[0],
            password=credentials[1],
            lite=self.settings.lite,
            pacing=self.settings.pacing,
            renomination=self.settings.renominate,
        )

    def _selected(self, session: Session, stream: StreamSession, now: float) -> None:
        self._renomination.selected(session, stream, now)
        self._conclusion.selected(session, now)

    def _stream(self, stream: StreamId) -> StreamSession:
        if not 0 <= stream < len(self._state.locals):
            raise MisuseError(f"there is no stream {stream}")
        return self._state.session.streams[stream]

    def _locals(self, stream: StreamId) -> LocalCandidates:
        self._stream(stream)
        return self._state.locals[stream]


def _same_session(first: Parameters, second: Parameters) -> bool:
    return (first.username_fragment, first.password) == (
        second.username_fragment,
        second.password,
    )
