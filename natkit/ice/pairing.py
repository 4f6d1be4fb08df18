"""The peer's candidates: taken at any time, resolved, paired, kept within bounds (RFC 8838)."""

from natkit.address import Address
from natkit.errors import MisuseError
from natkit.ice.agent_state import AgentState, RemoteKey, Session, StreamSession, Timer
from natkit.ice.candidate import ACTIVE_PORT, Candidate, CandidateType, TcpType
from natkit.ice.checklist import ChecklistState, may_pair, new_pair
from natkit.ice.connections import Connections
from natkit.ice.events import ResolveName
from natkit.ice.explanation import PairState
from natkit.ice.freezing import thaw_new
from natkit.ice.pair import Local, Pair
from natkit.machine import RequestId

RESOLUTION_TIME = 10.0
"""Seconds that multicast DNS may take to find a name."""

_REPLACEABLE = (PairState.FROZEN, PairState.WAITING, PairState.FAILED, PairState.DROPPED)


class Pairing:
    """Keeps the remote candidates and forms pairs with the local ones (RFC 8445 §6.1.2)."""

    def __init__(self, state: AgentState, connections: Connections) -> None:
        self._state = state
        self._connections = connections

    # ── remote candidates ───────────────────────────────────────────────────────────────────────

    def add_remote(self, stream: StreamSession, candidate: Candidate, now: float) -> None:
        """A remote candidate came; it is held until the session that it names is known."""
        state = self._state
        stream.last_news = now
        fragment = candidate.username_fragment
        if stream.remote is None or fragment not in (None, stream.remote.username_fragment):
            if self._is_stale(stream, fragment):
                state.dropped.stale += 1
            elif len(stream.pending) >= state.settings.most_remote_candidates:
                state.dropped.excessive += 1
            else:
                stream.pending.append(candidate)
            return
        self._take(stream, candidate, now)

    def add_pending(self, stream: StreamSession, now: float) -> None:
        """The peer's parameters came, and with them the candidates that waited for them."""
        pending, stream.pending = stream.pending, []
        for candidate in pending:
            self.add_remote(stream, candidate, now)

    def resolved(self, number: RequestId, hosts: tuple[str, ...], now: float) -> bool:
        """The addresses of a remote candidate's name; False if nobody waits for them."""
        self._state.timers.cancel((Timer.RESOLUTION, number))
        for stream in self._state.session.streams:
            candidate = stream.resolving.pop(number, None)
            if candidate is None:
                continue
            stream.last_news = now
            self._state.changed = True
            for host in hosts:
                try:
                    address = Address.of(host, candidate.address.port)
                except MisuseError:
                    continue
                self._store(stream, candidate, address)
            return True
        return False

    def _is_stale(self, stream: StreamSession, fragment: str | None) -> bool:
        previous = self._state.previous
        if previous is None or fragment is None:
            return False
        remote = previous.streams[stream.stream].remote
        return remote is not None and remote.username_fragment == fragment

    def _take(self, stream: StreamSession, candidate: Candidate, now: float) -> None:
        state = self._state
        if candidate.component > stream.components:
            # RFC 8839 §4.1.1: the peer may offer RTCP where this side multiplexes it.
            state.dropped.stale += 1
            return
        address = candidate.address
        if isinstance(address, Address):
            self._store(stream, candidate, address)
        elif not address.is_mdns:
            state.dropped.stale += 1
        elif len(stream.resolving) + len(stream.remote_candidates) >= (
            state.settings.most_remote_candidates
        ):
            state.dropped.excessive += 1
        elif candidate not in stream.resolving.values():
            number = state.next_request()
            stream.resolving[number] = candidate
            state.timers.set((Timer.RESOLUTION, number), now + RESOLUTION_TIME)
            state.tell(ResolveName(number, address))

    def _store(self, stream: StreamSession, candidate: Candidate, address: Address) -> None:
        state = self._state
        if candidate.tcp_type is TcpType.ACTIVE and address.port in (0, ACTIVE_PORT):
            # It connects to us from a port that is not known yet (RFC 6544 §4.5).
            return
        key: RemoteKey = (candidate.component, candidate.transport, candidate.tcp_type, address)
        known = stream.remote_candidates.get(key)
        if known is not None and known.type is not CandidateType.PEER_REFLEXIVE:
            return
        if known is None and len(stream.remote_candidates) >= state.settings.most_remote_candidates:
            state.dropped.excessive += 1
            return
        stream.remote_candidates[key] = candidate
        if known is not None:
            self._rename(stream, known, candidate)
        for local in state.locals[stream.stream]:
            self._pair(stream, local, candidate, address)
        thaw_new(state.session.checklists)

    def _rename(self, stream: StreamSession, known: Candidate, candidate: Candidate) -> None:
        """What a check revealed turns out to be a candidate of the peer's (RFC 8445 §7.3.1.3)."""
        for pair in stream.checklist.pairs:
            if pair.remote is known:
                pair.remote = candidate
                pair.foundation = (pair.local.told.foundation, candidate.foundation)
        stream.checklist.reprioritise(controlling=self._state.role.controlling)

    # ── local candidates ────────────────────────────────────────────────────────────────────────

    def add_local(self, stream: StreamSession, local: Local) -> None:
        """Pair a new local candidate with what the peer told so far."""
        for key, remote in list(stream.remote_candidates.items()):
            if remote.type is not CandidateType.PEER_REFLEXIVE:
                self._pair(stream, local, remote, key[3])
        thaw_new(self._state.session.checklists)

    # ── pairs ───────────────────────────────────────────────────────────────────────────────────

    def _pair(
        self, stream: StreamSession, local: Local, remote: Candidate, address: Address
    ) -> None:
        if self._state.settings.lite or not may_pair(local, remote, address):
            return
        if remote.component in stream.selected:
            return
        pair = new_pair(local, remote, address, controlling=self._state.role.controlling)
        known = stream.checklist.get(pair.key)
        if known is not None:
            # RFC 8445 §6.1.2.4: one path, one pair; the better candidate names it.
            better = pair.priority > known.priority
            if better and known.state in (PairState.FROZEN, PairState.WAITING):
                known.local = local
                known.foundation = pair.foundation
                stream.checklist.reprioritise(controlling=self._state.role.controlling)
            return
        self.place(self._state.session, stream, pair)

    def place(self, session: Session, stream: StreamSession, pair: Pair) -> bool:
        """Put a pair on its list; False when a full set has no worse one (RFC 8445 §6.1.2.5)."""
        state = self._state
        if sum(len(each) for each in session.checklists) >= state.settings.most_pairs:
            worst = min(
                (
                    (each.priority, each_stream, each)
                    for each_stream in session.streams
                    for each in each_stream.checklist.pairs
                    if each.state in _REPLACEABLE and not each.is_valid
                ),
                key=lambda entry: entry[0],
                default=None,
            )
            state.dropped.excessive += 1
            if worst is None or worst[0] >= pair.priority:
                return False
            worst[1].checklist.remove(worst[2])
            self._connections.close(worst[2])
        stream.checklist.add(pair)
        stream.failed = False
        if stream.checklist.state is ChecklistState.FAILED:
            stream.checklist.state = ChecklistState.RUNNING
        state.changed = True
        return True
