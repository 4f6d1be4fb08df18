"""What the peer's checks bring: candidates, triggered checks, nominations (RFC 8445 §7.3.1)."""

from natkit.address import Address
from natkit.ice.agent_state import AgentState, EarlyCheck, RemoteKey, Session, StreamSession
from natkit.ice.answers import PeerCheck
from natkit.ice.candidate import Candidate, CandidateType, TcpType
from natkit.ice.checking import Checking
from natkit.ice.checklist import ChecklistState, new_pair
from natkit.ice.checks import Checks
from natkit.ice.connections import Connections
from natkit.ice.events import CandidateDiscovered
from natkit.ice.explanation import PairState
from natkit.ice.nomination import Nominations
from natkit.ice.pair import Pair
from natkit.ice.pairing import Pairing
from natkit.machine import Transport

MOST_PEER_REFLEXIVE = 16
"""Remote candidates that checks reveal at one base: NATs can give each check another address.

Counted for each base, so that those of a hopeless path leave room for those of a relay.
"""


class Hearing:
    """Acts upon checks that were answered with success."""

    def __init__(
        self,
        state: AgentState,
        checks: Checks,
        checking: Checking,
        nominations: Nominations,
        connections: Connections,
        pairing: Pairing,
    ) -> None:
        self._state = state
        self._checks = checks
        self._checking = checking
        self._nominations = nominations
        self._connections = connections
        self._pairing = pairing

    def heard(self, check: PeerCheck, now: float) -> None:
        """The peer made a check."""
        if check.role_yielded:
            self._checking.role_changed()
        if check.is_ours:
            check.stream.mutual = True
            self._act(check.session, check.stream, _early(check), now)
        else:
            self._keep(check)
        if check.role_yielded:
            self._checking.consider_all(now)
        self._checking.wake(now)

    def replay(self, session: Session, stream: StreamSession, now: float) -> None:
        """The peer's parameters came: what it checked before them counts now."""
        assert stream.remote is not None  # noqa: S101 - they came just now
        fragment = stream.remote.username_fragment
        for path, check in list(stream.early.items()):
            if check.username_fragment == fragment:
                del stream.early[path]
                stream.mutual = True
                self._act(session, stream, check, now)
        self._checking.wake(now)

    def _keep(self, check: PeerCheck) -> None:
        early = check.stream.early
        known = early.get(check.path)
        if known is None and len(early) >= self._state.settings.most_early_checks:
            self._state.dropped.excessive += 1
            return
        kept = _early(check)
        same = known is not None and known.username_fragment == kept.username_fragment
        if same and known is not None and known.nominates and not kept.nominates:
            return
        early[check.path] = kept

    def _act(self, session: Session, stream: StreamSession, check: EarlyCheck, now: float) -> None:
        pair = self._pair_of(session, stream, check)
        if pair is None:
            return
        traffic = pair.traffic
        traffic.checks_received += 1
        traffic.responses_sent += 1
        traffic.last_received = now
        if pair.heard_by == check.transaction_id:
            return
        pair.heard_by = check.transaction_id
        if session is not self._state.session:
            return
        if self._state.settings.lite:
            self._answer_for_lite(session, stream, pair, check, now)
            return
        controlled = not self._state.role.controlling
        if check.nominates and controlled:
            self._nominations.nominated_by_peer(
                session, stream, pair, check.transaction_id, check.nomination_value, now
            )
        self._trigger(stream, pair, nominated=check.nominates and controlled)

    def _answer_for_lite(
        self, session: Session, stream: StreamSession, pair: Pair, check: EarlyCheck, now: float
    ) -> None:
        # RFC 8445 §7.3.2: what the peer nominates is valid, without a check of our own.
        if check.nominates:
            pair.succeed(pair.local.told, now)
            pair.reason = "the peer nominated it"
            self._nominations.nominated_by_peer(
                session, stream, pair, check.transaction_id, check.nomination_value, now
            )

    def _trigger(self, stream: StreamSession, pair: Pair, *, nominated: bool) -> None:
        """Check a pair because the peer did (RFC 8445 §7.3.1.4)."""
        if pair.is_valid or pair.path is None:
            return
        if pair.component in stream.selected and not nominated:
            # This component is done, unless the peer wants another pair.
            return
        if pair.state is PairState.IN_PROGRESS:
            self._checks.stop(pair)
        if stream.checklist.state is not ChecklistState.RUNNING:
            stream.checklist.state = ChecklistState.RUNNING
            self._state.changed = True
        stream.checklist.trigger(pair)

    # ── whose path it is ────────────────────────────────────────────────────────────────────────

    def _pair_of(self, session: Session, stream: StreamSession, check: EarlyCheck) -> Pair | None:
        path = check.path
        connected = self._state.connections.get(path)
        if connected is not None:
            return connected if _belongs(connected, stream) else None
        known = stream.checklist.get((path.transport, path.local, path.remote))
        if known is not None:
            if known.path is None or known.path != path:
                known.path = path
                self._connections.accepted(path, known)
            return known
        local = self._state.locals[stream.stream].sender(
            path.transport, check.component, path.local
        )
        remote = self._remote_at(session, stream, check)
        if local is None or remote is None:
            return None
        pair = new_pair(local, remote, path.remote, controlling=self._state.role.controlling)
        pair.path = path
        if not self._pairing.place(session, stream, pair):
            return None
        if path.transport is Transport.TCP:
            self._connections.accepted(path, pair)
        return pair

    def _remote_at(
        self, session: Session, stream: StreamSession, check: EarlyCheck
    ) -> Candidate | None:
        """The remote candidate at the source, or a peer-reflexive one (RFC 8445 §7.3.1.3)."""
        path = check.path
        tcp_type = None if path.transport is Transport.UDP else TcpType.ACTIVE
        key: RemoteKey = (check.component, path.transport, tcp_type, path.remote)
        known = stream.remote_candidates.get(key)
        if known is not None:
            return known
        most = self._state.settings.most_remote_candidates
        found = stream.peer_reflexive.get(path.local, 0)
        if len(stream.remote_candidates) >= most or found >= MOST_PEER_REFLEXIVE:
            self._state.dropped.excessive += 1
            return None
        stream.peer_reflexive[path.local] = found + 1
        discovered = Candidate(
            foundation=f"remote{len(stream.remote_candidates) + 1}",
            component=check.component,
            transport=path.transport,
            priority=check.priority,
            address=Address(path.remote.host, path.remote.port),
            type=CandidateType.PEER_REFLEXIVE,
            tcp_type=tcp_type,
        )
        stream.remote_candidates[key] = discovered
        if session is self._state.session:
            self._state.tell(CandidateDiscovered(stream.stream, discovered, is_local=False))
        return discovered


def _belongs(pair: Pair, stream: StreamSession) -> bool:
    return stream.checklist.get(pair.key) is pair


def _early(check: PeerCheck) -> EarlyCheck:
    return EarlyCheck(
        check.path,
        check.component,
        check.priority,
        check.transaction_id,
        check.nominates,
        check.nomination_value,
        check.username_fragment,
    )
